"""Calls and answers of XML-RPC, as ``pip search`` sends and reads them; a document type, and so every entity, is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate
from xmlrpc.client import Fault, Unmarshaller, dumps

import attrs

from twistpi.model.records import Json

_LARGEST: Final = 64 * 1024
"""Bytes of a call."""
_FAULT: Final = 1
"""The code of every fault."""
_NO_CHARACTERS: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNREADABLE: Final = "The request is no XML-RPC call that can be read."


class Unreadable(Exception):
    """A body is no call.  The message says why."""


@attrs.frozen
class Call:
    """A method and its parameters."""

    method: str
    parameters: Sequence[Json] = ()


def read_call(body: bytes) -> Call:
    """Return the call in ``body``; raise ``Unreadable``."""
    if len(body) > _LARGEST:
        raise Unreadable(f"The request is larger than {_LARGEST} bytes.")
    reader = Unmarshaller()
    reader.xml("", None)  # the parser decodes
    parser = ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    try:
        parser.Parse(body, True)
        return Call(reader.getmethodname() or "", reader.close())
    except (ExpatError, Fault) as error:
        raise Unreadable(f"{_UNREADABLE} {error}") from error
    except Unreadable:
        raise
    except Exception as error:  # whatever values of the wrong kind cause in the library
        raise Unreadable(_UNREADABLE) from error


def write_answer(value: Json) -> bytes:
    """Return ``value`` as the answer to a call."""
    return _encoded(dumps((value,), methodresponse=True, allow_none=True))


def write_fault(text: str) -> bytes:
    """Return ``text`` as what is wrong with a call."""
    return _encoded(dumps(Fault(_FAULT, text), methodresponse=True))


def _encoded(markup: str) -> bytes:
    """Return ``markup`` without the characters that no XML document may have (XML 1.0, 2.2)."""
    return _NO_CHARACTERS.sub("", markup).encode()


def _refuse(*_: object) -> None:
    raise Unreadable("The request has a document type, which no call needs.")
