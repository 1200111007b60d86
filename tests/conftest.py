"""For all tests."""

import os

from hypothesis import settings

# The same examples on every machine and in every run: a change does not fail for what another one has broken.
# OCSD_EXPLORE=1 looks at fresh ones.
if not os.environ.get("OCSD_EXPLORE"):
    settings.load_profile("ci")
