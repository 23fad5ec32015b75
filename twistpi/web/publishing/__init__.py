"""What changes what is in an index: uploads, pushes, marks, removals, test results."""
