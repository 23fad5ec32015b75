"""The commands of ``twistpi``, as click parses them."""
