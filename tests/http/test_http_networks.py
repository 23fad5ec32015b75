"""Which addresses are forbidden, however they are spelled."""

from __future__ import annotations

import pytest

from twistpi.http.errors import RequestFailed
from twistpi.http.routes import DEFAULT, ForbiddenNetworks

LOOPBACK = ForbiddenNetworks.parse(["127.0.0.0/8", "::1"])
METADATA = "169.254.169.254"
SETTING = r"its address lies in a network where this server connects to nobody \(setting forbidden-networks\)"


@pytest.mark.parametrize(
    "address",
    [
        METADATA, "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200",
        "168.63.129.16", "192.0.0.192", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1", "::169.254.169.254",
    ],
)  # fmt: skip
def test_by_default_link_local_addresses_and_cloud_metadata_are_forbidden(address: str) -> None:
    with pytest.raises(RequestFailed, match=SETTING):
        ForbiddenNetworks.parse().check_address(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "93.184.216.34", "2001:db8::1", "fd00:ec2::255"]
)
def test_by_default_all_others_are_not(address: str) -> None:
    ForbiddenNetworks.parse().check_address(address)
    ForbiddenNetworks.parse().check_host(address)


@pytest.mark.parametrize(
    "host",
    [
        METADATA, "169.254.169.254.", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518",
        "[fe80::1]", "fe80::1%25eth0", "::ffff:169.254.169.254", "%31%36%39.254.169.254", "①⑥⑨.254.169.254", "169。254。169。254",
    ],
)  # fmt: skip
def test_a_forbidden_address_is_known_however_it_is_spelled(host: str) -> None:
    with pytest.raises(RequestFailed, match=SETTING):
        ForbiddenNetworks.parse().check_host(host)


@pytest.mark.parametrize(
    "host", ["upstream.example", "", "é.example", "1.2.3.4.example", "a.169.254.169.254", "x" * 5000, "\x00"]
)
def test_a_name_is_no_address(host: str) -> None:
    ForbiddenNetworks.parse(["0.0.0.0/0", "::/0"]).check_host(host)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_who_forbids_loopback_forbids_every_way_to_the_machine_itself(address: str) -> None:
    with pytest.raises(RequestFailed):
        LOOPBACK.check_address(address)


def test_networks_that_are_named_replace_the_default() -> None:
    assert ForbiddenNetworks.parse([]) == ForbiddenNetworks.parse(DEFAULT)
    only = ForbiddenNetworks.parse(["10.0.0.0/8", "192.168.0.1"])
    only.check_address(METADATA)
    with pytest.raises(RequestFailed, match=SETTING):
        only.check_address("10.1.2.3")


def test_none_forbids_nothing() -> None:
    ForbiddenNetworks.parse(["none"]).check_address(METADATA)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="upstream"):
        ForbiddenNetworks.parse(["upstream.example"])
