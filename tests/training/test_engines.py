import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, signal
import keras, numpy as np
from bloodcell.training.engines import build_engine

def engine():
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image)))
    return build_engine("openvino", model, examples=np.zeros((1, 16, 16, 3), np.float32))

first, second = engine(), engine()
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_a_process_whose_openvino_engines_are_freed_can_be_interrupted():
    completed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout) == (0, "interrupted\n"), completed.stderr[-2000:]
