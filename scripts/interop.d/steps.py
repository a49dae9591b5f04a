"""What the clients in Python have in common: how they are called, how a step is told, which steps there are. See scripts/interop."""

import sys
import time

READ = sys.argv[1] == "read"
BOOTSTRAP, REST = (sys.argv[2], sys.argv[3].split(",")) if READ else (sys.argv[1], sys.argv[2])
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
COUNT = 50
RF = 1 if READ else min(3, int(REST))


def step(feature, work):
    try:
        detail = work()
        print(f"{feature}\tok\t{detail if detail is not None else ''}", flush=True)
    except Exception as error:  # whatever it is, the next step is tried
        print(f"{feature}\tFAIL\t{type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)


def until(good):
    """A broker may be asked before it has heard of what the controller has done."""
    for _ in range(100):
        if good():
            return
        time.sleep(0.1)
    raise AssertionError("not so after 10 s")


def values(topic, count=COUNT):
    return [f"{topic} {number} again and again and again".encode() for number in range(count)]


def ask(what, node):
    """Has a node killed or started, and waits until that is done."""
    print(f"!{what} {node}", flush=True)
    sys.stdin.readline()


def go(name, client):
    """Takes all steps, or reads what the writers named have left. `client` is the caller's globals(): a function a step."""
    if READ:
        for writer in REST:
            step(writer, lambda writer=writer: client["read"](writer))
        return
    plain = f"x-{name}-none"
    step("metadata", client["metadata"])
    step("topics", client["topics"])
    step("produce", lambda: client["produce"](plain, values(plain)))
    step("consume", lambda: client["consume"](plain, COUNT) and None)
    for codec in CODECS[1:]:
        step(codec, lambda codec=codec: client["compressed"](f"x-{name}-{codec}", codec))
    step("headers", client["headers"])
    step("timestamps", client["timestamps"])
    step("big messages", client["big"])
    step("many partitions", client["many"])
    step("offsets", client["offsets"])
    step("offset by time", client["by_time"])
    step("acks 0 and 1", client["acks"])
    step("idempotent", client["idempotent"])
    step("configs", client["configs"])
    step("more partitions", client["more_partitions"])
    step("delete records", client["delete_records"])
    step("delete topic", client["delete_topic"])
    if int(REST) > 1:
        step("leader killed", client["leader_killed"])
