"""``twistpi doctor``: is anything wrong with how a server is set up, and what should be changed?

``visiting`` asks the server through the address that users have, as a user would; ``machine`` looks at the server directory, the
process and the mirrors' upstreams, where the doctor runs on the server's machine.  Both only gather ``facts``;
``outside_rules`` and ``machine_rules`` judge them without looking any further.
"""
