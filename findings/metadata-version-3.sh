#!/usr/bin/env bash
# pip and uv install a wheel whose metadata says that it follows version 3.0 of the core metadata.
#
# Core metadata specifications ("Metadata-Version"): a tool that reads metadata fails if the major version is above the highest that it supports, and
# 2.x is the highest there is. Both installers follow the same rule for "Wheel-Version: 2.0", and refuse. So an index cannot leave it to
# installers to keep such a file away.
#
# Seen with pip 26.3, uv 0.13.9:
#   Metadata-Version: 3.0: pip installed, uv installed
#   Wheel-Version: 2.0: pip failed, uv failed
. "$(dirname "$0")/prepare"
prepare uv==0.13.9
venv/bin/python - <<'PYTHON'
import io, sys, zipfile
import loopback

index = loopback.LoopbackIndex()


def seen(project, metadata_version, wheel_version):
    folder, buffer = f"{project}-1.0.dist-info", io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{project}.py", "")
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: {metadata_version}\nName: {project}\nVersion: 1.0\n")
        archive.writestr(f"{folder}/WHEEL", f"Wheel-Version: {wheel_version}\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    index.add_page(project, index.add_file(f"{project}-1.0-py3-none-any.whl", buffer.getvalue()))
    done = [install(index.simple, project)[0] for install in (loopback.pip_install, loopback.uv_install)]
    print(f"Metadata-Version: {metadata_version}, Wheel-Version: {wheel_version}: pip, uv:", done)
    return done


sys.exit((seen("known", "2.1", "1.0"), seen("sample", "3.0", "1.0"), seen("other", "2.1", "2.0")) != ([True] * 2, [True] * 2, [False] * 2))
PYTHON
