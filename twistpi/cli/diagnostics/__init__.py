"""``twistpi check-index`` and ``twistpi doctor``: judge an index, or how a server is set up, by what it answers.

Surveys (``index_survey.py``, ``server_survey.py``, ``machine.py``) ask and record; rules (``index_*.py``, ``server_rules.py``)
judge the record without any I/O. ``findings.py`` has the verdicts, how rules are applied, and both reports.
"""
