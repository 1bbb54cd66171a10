"""A gRPC client and server by `grpcio`, with messages that are bare octets."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

import edge

MESSAGES = 50
TIMEOUT = 1

acknowledged = edge.Acknowledged()
begun, over = edge.Event(), edge.Event()
time_remaining = None


def echo(request, context):
    said = dict(context.invocation_metadata())
    context.send_initial_metadata([("x-first", said["x-said"]), ("x-octets-bin", said["x-octets-bin"])])
    context.set_trailing_metadata([("x-last", str(len(request)))])
    return request


def refuse(request, context):
    context.set_trailing_metadata([("x-last", "why")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not ☃ so, 100 %")


def count(request, context):
    for n in range(MESSAGES):
        yield b"%d" % n
        acknowledged.expect()


def stop_short(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


def join(requests, context):
    return b"".join(requests)


def converse(requests, context):
    for request in requests:
        yield request * 2
    context.set_trailing_metadata([("x-last", "both have ended")])


def wait(request, context):
    """Until it is over, be it that the client has left or that its time has."""
    global time_remaining
    context.add_callback(over.set)
    time_remaining = context.time_remaining()
    begun.set()
    yield b"begun"
    over.expect("the end of a call")


METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "StopShort": grpc.unary_stream_rpc_method_handler(stop_short),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Converse": grpc.stream_stream_rpc_method_handler(converse),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
}


def channel(port):
    with open(sys.argv[1], "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)


def fails(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it has not failed")


def unary(port):
    with channel(port) as here:
        said = [("x-said", "first"), ("x-octets-bin", bytes(range(256)))]
        for message in [b"", b"x", bytes(range(256)) * 8192]:
            ask = here.unary_unary("/test.Test/Echo")
            answer, call = ask.with_call(message, timeout=edge.PATIENCE, metadata=said)
            assert (answer, call.code()) == (message, grpc.StatusCode.OK)
            first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
            assert (first["x-first"], first["x-octets-bin"]) == ("first", bytes(range(256))), first
            assert last["x-last"] == str(len(message)), last
        refused = fails(lambda: here.unary_unary("/test.Test/Refuse")(b"", timeout=edge.PATIENCE))
        assert (refused.code(), refused.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not ☃ so, 100 %")
        assert dict(refused.trailing_metadata())["x-last"] == "why"
        unknown = fails(lambda: here.unary_unary("/test.Test/Unknown")(b"", timeout=edge.PATIENCE))
        assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED, unknown


def streams(port):
    with channel(port) as here:
        counted = here.unary_stream("/test.Test/Count")(b"", timeout=edge.PATIENCE)
        for n, message in enumerate(counted):
            assert message == b"%d" % n
            acknowledged.release()
        assert (n + 1, counted.code()) == (MESSAGES, grpc.StatusCode.OK)

        stopped, got = here.unary_stream("/test.Test/StopShort")(b"", timeout=edge.PATIENCE), []
        error = fails(lambda: [got.append(message) for message in stopped])
        assert (got, error.code(), error.details()) == ([b"one"], grpc.StatusCode.DATA_LOSS, "in the middle")

        pieces = [b"%d," % n for n in range(MESSAGES)]
        joined = here.stream_unary("/test.Test/Join")(iter(pieces), timeout=edge.PATIENCE)
        assert joined == b"".join(pieces)

        # Each message only when the answer to the one before is here.
        answered = edge.Acknowledged()

        def say():
            for n in range(MESSAGES):
                yield b"%d" % n
                answered.expect()

        conversation = here.stream_stream("/test.Test/Converse")(say(), timeout=edge.PATIENCE)
        for n, message in enumerate(conversation):
            assert message == b"%d" % n * 2
            answered.release()
        assert n + 1 == MESSAGES
        assert dict(conversation.trailing_metadata())["x-last"] == "both have ended"


def ends_early(port):
    with channel(port) as here:
        waiting = here.unary_stream("/test.Test/Wait")(b"")
        assert next(waiting) == b"begun"
        assert time_remaining > 1e6, f"{time_remaining} s, though no deadline was set"
        waiting.cancel()
        over.expect("the server hears that a call is cancelled")

        over.clear(), begun.clear()
        late = fails(lambda: list(here.unary_stream("/test.Test/Wait")(b"", timeout=TIMEOUT)))
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
        begun.expect("the call that is late")
        # Up to some milliseconds by which the two round it.
        assert 0 < time_remaining < TIMEOUT + 0.5, time_remaining
        over.expect("the server hears that a deadline is over")


server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", METHODS)])
backend = server.add_insecure_port("127.0.0.1:0")
server.start()
edge.run(backend, {"unary": unary, "streams": streams, "ends-early": ends_early})
server.stop(None)
