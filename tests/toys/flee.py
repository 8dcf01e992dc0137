"""A toy standing in for a trainer that is hard to end: it ignores TERM, and so does its child in a session of its own."""

import os
import signal
import subprocess
import sys
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "--again" not in sys.argv:
    subprocess.Popen([sys.executable, "-S", __file__, "--again"], start_new_session=True, close_fds=True)
os.write(1, b"%d\n" % os.getpid())
while True:
    time.sleep(60)
