"""What pages have in common."""

import base64
import hashlib

from diffuse_uda.reporting.templating import bytes_text, duration_text, number, page_script, template_environment


def test_sizes_read_as_people_write_them() -> None:
    assert [bytes_text(count) for count in (0, 999, 1000, 3_400_000, 2 * 10**12)] == [
        "0 B",
        "999 B",
        "1 kB",
        "3.4 MB",
        "2,000 GB",
    ]


def test_numbers_have_a_minus_and_nothing_is_a_dash() -> None:
    assert [number(value, ".1f") for value in (-1.25, 0.0, None)] == ["\u22121.2", "0.0", "\u2013"]
    assert [duration_text(seconds) for seconds in (1.5, 75, 3720)] == ["1.5 s", "1 min 15 s", "1 h 02 min"]


def test_everything_is_escaped() -> None:
    assert template_environment().from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"


def test_a_script_comes_with_the_sum_that_lets_it_run() -> None:
    script = page_script("site.js")
    digest = hashlib.sha256(str(script.text).encode()).digest()
    assert script.policy == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert "</script" not in script.text
