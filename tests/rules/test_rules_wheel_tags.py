"""The tags of wheels in words, on names of real wheels."""

from __future__ import annotations

import pytest

from twistpi.rules.wheel_tags import tags_in_words


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("py3-none-any", "any Python 3, any platform"),
        ("py2.py3-none-any", "any Python, any platform"),
        ("py2-none-any", "any Python 2, any platform"),
        ("py37-none-any", "Python 3.7+, any platform"),
        ("py38.py39.py310-none-any", "Python 3.8+, any platform"),
        ("py3-none-win_amd64", "any Python 3, Windows on x86-64"),
        ("py3-none-macosx_10_9_universal2", "any Python 3, macOS 10.9+ on Apple silicon and Intel"),
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", "CPython 3.12, glibc 2.17+ on x86-64"),
        ("cp313-cp313-manylinux_2_5_i686.manylinux1_i686", "CPython 3.13, glibc 2.5+ on x86 (32-bit)"),
        ("cp39-cp39-manylinux_2_28_aarch64.manylinux_2_17_aarch64", "CPython 3.9, glibc 2.17+ on ARM64"),
        ("cp311-cp311-musllinux_1_2_x86_64", "CPython 3.11, musl 1.2+ on x86-64"),
        ("cp37-abi3-manylinux2014_s390x", "CPython 3.7+ (stable ABI), glibc 2.17+ on IBM Z"),
        ("cp315-abi3t-win_arm64", "CPython 3.15+ (stable ABI, free-threaded), Windows on ARM64"),
        ("cp313-cp313t-win32", "CPython 3.13 (free-threaded), Windows on x86 (32-bit)"),
        ("cp37-cp37m-macosx_10_14_x86_64", "CPython 3.7, macOS 10.14+ on Intel"),
        ("cp27-cp27mu-manylinux2010_x86_64", "CPython 2.7 (wide Unicode), glibc 2.12+ on x86-64"),
        ("cp312-cp312-macosx_11_0_arm64", "CPython 3.12, macOS 11.0+ on Apple silicon"),
        ("cp312-none-any", "CPython 3.12, any platform"),
        ("cp38.cp39-none-linux_armv7l", "CPython 3.8, 3.9, Linux on ARMv7"),
        ("pp310-pypy310_pp73-manylinux_2_17_aarch64.manylinux2014_aarch64", "PyPy 3.10, glibc 2.17+ on ARM64"),
        ("graalpy311-graalpy240_311_native-linux_x86_64", "GraalPy 3.11, Linux on x86-64"),
        ("cp310-cp310-manylinux_2_17_ppc64le.manylinux2014_ppc64le", "CPython 3.10, glibc 2.17+ on POWER (little-endian)"),
        (
            "cp36-abi3-manylinux1_x86_64.manylinux1_i686.musllinux_1_1_x86_64",
            "CPython 3.6+ (stable ABI), glibc 2.5+ on x86-64 and x86 (32-bit) or musl 1.1+ on x86-64",
        ),
        ("cp313-cp313-ios_13_0_arm64_iphoneos", "CPython 3.13, iOS 13.0+ on iPhone and iPad"),
        ("cp313-cp313-android_21_arm64_v8a", "CPython 3.13, Android API 21+ on ARM64"),
        ("cp312-cp312-pyodide_2024_0_wasm32", "CPython 3.12, Pyodide 2024.0+ on WebAssembly"),
        ("cp313-cp313-emscripten_3_1_58_wasm32", "CPython 3.13, Emscripten 3.1.58+ on WebAssembly"),
        ("py2.cp39-none-any", "any Python 2 or CPython 3.9, any platform"),
        ("zz9-odd-plan_9", "zz9, plan_9"),
    ],
)
def test_tags_are_told_in_words(tags: str, words: str) -> None:
    assert str(tags_in_words(f"demo-1.0-{tags}.whl")) == words
    assert str(tags_in_words(f"demo-1.0-1-{tags}.whl")) == words, "with a build number"


@pytest.mark.parametrize("filename", ["demo-1.0.tar.gz", "demo-1.0.zip", "demo-1.0-py3.whl", ".whl"])
def test_what_is_not_named_as_a_wheel_has_no_tags(filename: str) -> None:
    assert tags_in_words(filename) is None
