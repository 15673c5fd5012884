"""An address of metrics is completed, compared with another, and shown without its secrets."""

import pytest

from verismo.control.metricsaddress import endpoint, is_one_address, shown_address


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://stage-blue.example.com", "https://stage-blue.example.com/metrics"),
        ("https://stage-blue.example.com/", "https://stage-blue.example.com/metrics"),
        ("http://h:9/custom/metrics", "http://h:9/custom/metrics"),
    ],
)
def test_a_url_without_a_path_means_its_metrics(url, found):
    assert endpoint(url) == found


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://blue/metrics", "https://blue/metrics"),
        ("https://ada:secret@blue:8081/a@b/metrics", "https://blue:8081/a@b/metrics"),
        ("http://ada@blue", "http://blue"),
        ("http://blue/metrics?token=secret", "http://blue/metrics"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(url, shown):
    assert shown_address(url) == shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://blue/metrics", "http://blue/metrics"),
        ("http://blue/metrics", "http://BLUE:80/metrics"),
        ("https://blue./metrics", "https://ada:secret@blue:443/metrics#top"),
        ("http://[::1]:8081/metrics", "http://[::1]:08081/metrics"),
        ("http://blue:port/metrics", "http://blue:port/metrics"),
    ],
)
def test_two_ways_to_write_an_address_are_one_address(one, other):
    assert is_one_address(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://blue/metrics", "http://green/metrics"),
        ("http://blue/metrics", "https://blue/metrics"),
        ("http://blue:1/metrics", "http://blue:2/metrics"),
        ("http://blue/metrics?target=a", "http://blue/metrics?target=b"),
        ("http://blue/a", "http://blue/A"),
        ("http://blue:port/metrics", "http://blue/metrics"),
    ],
)
def test_other_addresses_are_others(one, other):
    assert not is_one_address(one, other)
