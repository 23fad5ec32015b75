"""``twistpi check-index`` and ``twistpi doctor``: judge an index, or how a server is set up, by what it answers.

A survey (``survey.py``) sends a query when a rule first needs the answer. ``index_*.py`` and ``server_rules.py`` have the queries
and rules, ``machine.py`` what is seen on the server's machine, and ``findings.py`` the verdicts and both reports.
"""
