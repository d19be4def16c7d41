"""The picture of the demo: what is in it, what is not, and that it shows every part that the demo has."""

import inspect
import re
from html import unescape

from cli import demo_show
from cli.demo_picture import PICTURE, Picture
from tests.stack import ROOT


def text_of(svg: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", svg)).replace("\xa0", " ")


def test_a_picture_has_no_ports_no_secrets_and_needs_nothing_from_elsewhere() -> None:
    picture = Picture()
    picture.say("PostgreSQL on port 23581 and Kafka on 127.0.0.1:27012 (4.9 s)")
    picture.progress("Products", 5, 10)
    picture.heading("356 customers")
    picture.heading("Open")
    picture.line("  API key  iac_secret")
    svg = picture.svg()
    shown = text_of(svg)
    assert "PostgreSQL on port … and Kafka on 127.0.0.1:… (4.9 s)" in shown
    assert "356 customers" in shown
    assert not any(word in shown for word in ("23581", "27012", "Products", "Open", "secret"))
    assert "url(http" not in svg
    assert "@font-face" not in svg


def test_the_picture_of_the_readme_shows_every_part_of_the_demo() -> None:
    shown = text_of(PICTURE.read_text(encoding="utf-8"))
    headings = re.findall(r'heading\(\s*f?"([^"{]*)', inspect.getsource(demo_show))
    parts = [heading for heading in headings if heading.strip()]
    assert len(parts) >= 3
    assert [part for part in parts if part not in shown] == []
    assert "One more sale, live" in shown
    assert f"({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text(encoding="utf-8")
