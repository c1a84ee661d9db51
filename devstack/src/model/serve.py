"""Serves a model on a free port of 127.0.0.1 and prints where, until standard input closes.

Started by nexus-devstack: serve.py LIBRARY_DIR MODEL_FILE ALIAS THREADS CONTEXT
"""

import os
import sys
import threading

library, model, alias, threads, context = sys.argv[1:]
sys.path.insert(0, library)


def end_with_parent():
    # The parent holds the other end: it closes when the parent stops us, and when it dies.
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()

import xllamacpp  # noqa: E402

params = xllamacpp.CommonParams()
params.model.path = model
params.model_alias = {alias}
params.hostnames = ["127.0.0.1"]
params.port = 0
params.cpuparams.n_threads = int(threads)
params.cpuparams_batch.n_threads = int(threads)
params.n_ctx = int(context)
params.n_parallel = 1
params.use_jinja = True
params.warmup = False
params.ui = False
# The default would let the cache of prompts grow to 8 GiB.
params.cache_ram_mib = 256

server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
threading.Event().wait()
