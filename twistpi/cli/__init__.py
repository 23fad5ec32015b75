"""Layer 6: the command ``twistpi``.

``main`` is its entry point, ``commands`` parses command lines, the modules here do the work.
"""
