#!/usr/bin/env bash
# packaging reads the project "sample-1-0" out of sample-1.0-1.tar.gz.
#
# PEP 440 allows "1.0-1" as a spelling of 1.0.post1 (implicit post releases), and sdists of the years before PEP 625 carry it in their names.
# parse_sdist_filename cuts at the last hyphen. There is no error: the answer is another project and another version. pypi-simple answers
# the same without a hint, and the right thing when it is told the project; pip, which knows the project, installs 1.0.post1's sdist as such.
#
# Seen with packaging 26.4, pypi-simple 1.8.0:
#   packaging: sample-1-0 1
#   pypi-simple: sample-1.0 1
#   pypi-simple, told the project: sample 1.0-1
. "$(dirname "$0")/prepare"
prepare packaging==26.4 pypi-simple==1.8.0
venv/bin/python - <<'PYTHON'
import sys
from packaging.utils import parse_sdist_filename
from pypi_simple import parse_filename

NAME = "sample-1.0-1.tar.gz"
project, version = parse_sdist_filename(NAME)
alone, told = parse_filename(NAME), parse_filename(NAME, project_hint="sample")
print("packaging:", project, version)
print("pypi-simple:", *alone[:2])
print("pypi-simple, told the project:", *told[:2])
sys.exit((project, str(version), alone[:2], told[:2]) != ("sample-1-0", "1", ("sample-1.0", "1"), ("sample", "1.0-1")))
PYTHON
