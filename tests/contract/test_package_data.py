"""Templates and scripts of pages: they have to be in the wheel, and nothing that travels needs them."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {path.name for path in (ROOT / "diffuse_uda" / "reporting" / "templates").iterdir()}


def test_the_wheel_holds_templates_style_and_script(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = "diffuse_uda/reporting/templates/"
    held = {name.removeprefix(folder) for name in zipfile.ZipFile(wheel).namelist() if name.startswith(folder)}
    assert {"report.html.j2", "site.html.j2", "site.js", "site.css", "federation.html.j2", "page.css"} <= TEMPLATES
    assert held == TEMPLATES


def test_apps_that_travel_import_nothing_that_makes_pages_or_charts() -> None:
    # Flower's bundle takes no templates: a site makes its page from its own checkout. A start has no time.
    code = (
        "import sys, client.client_app, server.server_app;"
        "print([name for name in sys.modules if name.split('.')[0] in {'tensorboard', 'mlflow', 'matplotlib', 'jinja2'}"
        " or name.startswith(('diffuse_uda.review', 'diffuse_uda.reporting'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
