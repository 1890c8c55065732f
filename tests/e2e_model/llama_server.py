"""Serves one GGUF model with llama.cpp's server until it is told to stop.

Run by `run` with the Python of the private environment, because only that one has `xllamacpp`.
The server lives inside this process; SIGTERM or the end of standard input (the parent died) ends it.
Prints one line of JSON, `{"address": "http://..."}`, when the model is loaded.
"""

import argparse
import json
import os
import signal
import sys
import threading


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="path of the GGUF file")
    parser.add_argument("--alias", required=True, help="the model id that /v1/models lists")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=8192, help="tokens, shared by all slots")
    parser.add_argument("--slots", type=int, default=2, help="requests served at the same time")
    parser.add_argument("--schema", help="JSON Schema that every reply is held to, whatever a request asks for; always the likeliest reply")
    args = parser.parse_args()

    import xllamacpp  # here, so that --help works without the environment

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = {args.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_ctx = args.context
    params.n_parallel = args.slots
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.use_jinja = True
    if args.schema:
        grammar = xllamacpp.json_schema_to_grammar(args.schema)
        kind = xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER
        params.sampling.grammar = xllamacpp.CommonGrammar(kind, grammar)
        # Current versions of Anthropic's API take no temperature, so the server has to choose it.
        params.sampling.temp = 0.0
    params.warmup = True
    params.endpoint_metrics = True

    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def watch_parent() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        stop.set()

    threading.Thread(target=watch_parent, daemon=True).start()
    while not stop.wait(0.5):
        pass
    os._exit(0)  # llama.cpp's threads have nothing to save, and joining them can take seconds


if __name__ == "__main__":
    main()
