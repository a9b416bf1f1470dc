"""The main job at a small size, and a page to listen to it on."""

import os

# Native notes about hardware would bury what the demo says. They are silenced
# here because it must be before the library that writes them is loaded.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
