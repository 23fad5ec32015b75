"""Request bodies that are read while they arrive: upload forms and test results."""
