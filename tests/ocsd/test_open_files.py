import json
import subprocess
import sys

import pytest

LIMIT = """
import json, resource
from ocsd.config.objects import Configuration, DesktopListener, HttpListener
from ocsd.daemon import allow_connections
from structlog.testing import capture_logs

resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
config = Configuration.model_construct(
    http=HttpListener(max_connections=300), desktop=DesktopListener(max_connections=200)
)
with capture_logs() as logs:
    allow_connections(config)
print(json.dumps([resource.getrlimit(resource.RLIMIT_NOFILE), [entry["event"] for entry in logs]]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "told"),
    [(256, 2000, 1012, []), (256, 600, 600, ["daemon.few_files_allowed"]), (1500, 2000, 1500, [])],
)
def test_given_a_limit_of_open_files_when_starting_then_it_fits_the_connections(soft, hard, expected, told):
    code = LIMIT.format(soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [[expected, hard], told]
