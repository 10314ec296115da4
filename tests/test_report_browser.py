"""The page in a real browser: no error, filters work, images load, nothing overflows."""

import json
import re
import shutil
import subprocess

import pytest
from test_report import page_of, samples  # noqa: F401  a fixture

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
PROBE = """<script>
window.addEventListener("load", () => {
  const cards = () => document.querySelectorAll(".card").length;
  const set = (id, name, value) => {
    const control = document.getElementById("filter-" + id);
    control[name] = value;
    control.dispatchEvent(new Event("input"));
  };
  const found = {all: cards(), wide: document.documentElement.scrollWidth <= innerWidth};
  const steps = document.querySelector(".steps");
  found.steps = steps.querySelectorAll("g.step text").length;
  found.scrolls = steps.scrollWidth > steps.clientWidth;
  const there = (one) => one.loading === "lazy" || one.naturalWidth > 0;
  found.images = [...document.images].every(there);
  set("text", "value", "no such text"); found.none = cards();
  set("text", "value", "");
  set("changed", "checked", true); found.changed = cards();
  set("changed", "checked", false); set("model", "value", "toy"); found.model = cards();
  found.scripts = document.querySelectorAll(".card script").length;
  const said = document.createElement("output");
  said.id = "probe"; said.textContent = JSON.stringify(found);
  document.body.append(said);
});
</script></body>"""


def browse(path, width):
    """The probe's answer, and what the console said."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<output id="probe">(.*?)</output>', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1]), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="NO BROWSER: install chromium to test the page in one")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works_in_a_browser(samples, tmp_path, width):  # noqa: F811
    page = page_of(samples, tmp_path).replace("</body>", PROBE)
    (tmp_path / "page.html").write_text(page)
    found, console = browse(tmp_path / "page.html", width)
    assert console == []
    assert found == {
        "all": 2,
        "wide": True,
        "steps": 9,
        "scrolls": True,  # by itself: the page is no wider
        "images": True,
        "none": 0,
        "changed": 2,
        "model": 2,
        "scripts": 0,
    }
