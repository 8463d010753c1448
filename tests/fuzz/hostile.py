"""Programs whose objects meddle with what is at work."""

import random

from .program import Body, Grammar, Op, Program, templates

FUNCTION = "@script\ndef {}(*args):"
COROUTINE = "async def {}():"

HOOKS = templates("""
    __del__
    __del__
    __del__
    __eq__
    __eq__ __hash__
    __hash__
    __repr__
    __str__
    __bool__
    __call__
    __call__ __del__
    __await__
    __iter__
    __next__ __iter__
    __getattr__
    __getattribute__
    __len__
    __index__
    __float__
    __int__
    __lt__ __eq__ __add__ __radd__ __rsub__
    __buffer__
    __fspath__
    __del__ __eq__ __repr__ __call__
    __format__ __str__ __repr__
    fileno
    send throw close __await__
    add_done_callback done result get_loop cancel
    __enter__ __exit__
    __set_name__ __class_getitem__
    time
    write flush
    """)

# These get control at moments when nobody expects it.
FAVOURITES = ["__del__", "__del__", "__del__", "__eq__", "__eq__ __del__", "__call__ __del__"]

CALLABLE = [
    "__call__ __del__",
    "__call__ __del__",
    "__call__ __eq__",
    "__call__ __del__ __eq__",
    "__call__ __repr__ __getattr__",
    "__call__ __hash__ __eq__",
]

PROTOCOL_HOOKS = templates("""
    connection_made
    data_received
    eof_received
    connection_lost
    pause_writing
    resume_writing
    data_received eof_received connection_lost
    pause_writing resume_writing connection_made
    get_buffer
    buffer_updated
    get_buffer buffer_updated
    datagram_received error_received
    __del__
    __getattr__
    __getattribute__
    pipe_data_received process_exited
    """)

BASES = templates("""
    object
    object
    object
    object
    object
    bytes
    bytearray
    int
    float
    str
    tuple
    list
    dict
    Exception
    CancelledError
    BaseException
    Coroutine
    Future
    """)

FUTURES = """
    f[{F}] = loop.create_future()
    f[{F}] = loop.create_future()
    f[{F}] = fastaio.Future(loop=loop)
    f[{F}] = SubFuture(loop=loop)
    f[{F}].set_result({V})
    f[{F}].set_result({V})
    f[{F}].set_exception({E})
    f[{F}].cancel()
    f[{F}].cancel({V})
    f[{F}].add_done_callback({C})
    f[{F}].add_done_callback({C})
    f[{F}].add_done_callback({C}, context={CTX})
    f[{F}].add_done_callback(f[{F}].cancel)
    f[{F}].add_done_callback(h[{H}].cancel)
    f[{F}].remove_done_callback({C})
    f[{F}].remove_done_callback({V})
    f[{F}].result()
    f[{F}].exception()
    repr(f[{F}])
    f[{F}]._callbacks
    x[{X}] = f[{F}]._callbacks
    f[{F}]._callbacks.clear()
    f[{F}]._callbacks[0] = {V}
    f[{F}]._callbacks = {V}
    f[{F}]._result = {V}
    f[{F}]._exception = {E}
    f[{F}]._state = {V}
    f[{F}]._log_traceback = {V}
    f[{F}]._log_traceback = False
    f[{F}]._cancel_message = {V}
    f[{F}]._cancelled_exc = {E}
    f[{F}]._asyncio_future_blocking = {V}
    f[{F}]._source_traceback = {V}
    f[{F}]._loop = {V}
    f[{F}]._make_cancelled_error()
    f[{F}].__init__(loop=loop)
    f[{F}].__init__({V})
    f[{F}].__del__()
    f[{F}].extra = {V}
    f[{F}].__class__ = SubFuture
    f[{F}].__class__ = {V}
    f[{F}].__dict__.clear()
    f[{F}].__setstate__({V})
    f.pop({F}, None)
    f.pop({F}, None)
    f[{F}] = f[{F}]
    x[{X}] = iter(f[{F}])
    x[{X}] = f[{F}].__await__()
    x[{X}] = weakref.ref(f[{F}], {C})
    x[{X}] = f[{F}]
    x[{X}] = f[{F}].set_result
    asyncio.Future.set_result(f[{F}], {V})
    asyncio.Future.add_done_callback(f[{F}], {C})
    asyncio.Future.__init__(f[{F}], loop=loop)
    asyncio.Future.__del__(f[{F}])
    asyncio.Future.cancel(f[{F}])
    repr(asyncio.Future._callbacks.__get__(f[{F}]))
    f[{F}] = asyncio.gather(f[{F}], f[{F}], return_exceptions={V})
    f[{F}] = asyncio.shield(f[{F}])
    asyncio.futures._chain_future(f[{F}], f[{F}])
    asyncio.future_add_to_awaited_by(f[{F}], f[{F}])
    asyncio.future_discard_from_awaited_by(f[{F}], f[{F}])
    gc.get_referents(f[{F}])
    hash(f[{F}])
    """

# Not asyncio.Task.__init__(): within the task's own step CPython frees the coroutine that runs.
TASKS = """
    f[{F}] = loop.create_task({CO})
    f[{F}] = loop.create_task({CO})
    f[{F}] = loop.create_task({CO})
    f[{F}] = loop.create_task({CO}, name={V})
    f[{F}] = loop.create_task({CO}, context={CTX})
    f[{F}] = fastaio.Task({CO}, loop=loop)
    f[{F}] = fastaio.Task({CO}, loop=loop, eager_start=True)
    f[{F}] = SubTask({CO}, loop=loop)
    f[{F}] = loop.create_task(sleeper(f[{F}]))
    f[{F}].cancel({V})
    f[{F}].cancel()
    f[{F}].uncancel()
    f[{F}].cancelling()
    f[{F}].set_name({V})
    f[{F}].get_name()
    f[{F}].get_coro()
    x[{X}] = f[{F}].get_coro()
    f[{F}].get_coro().close()
    f[{F}].get_coro().send(None)
    f[{F}].get_coro().throw({E})
    f[{F}].get_context().run({C})
    f[{F}].get_stack()
    f[{F}].print_stack(file={V})
    f[{F}].__init__({CO}, loop=loop)
    f[{F}].__init__({V}, loop=loop)
    f[{F}]._must_cancel
    x[{X}] = f[{F}]._fut_waiter
    f[{F}]._fut_waiter.cancel()
    f[{F}]._fut_waiter.set_result({V})
    f[{F}]._log_destroy_pending = {V}
    f[{F}]._coro = {V}
    asyncio.current_task(loop)
    x[{X}] = asyncio.all_tasks(loop)
    asyncio.tasks._enter_task(loop, f[{F}])
    asyncio.tasks._leave_task(loop, f[{F}])
    asyncio.tasks._swap_current_task(loop, f[{F}])
    asyncio.tasks._register_task(f[{F}])
    asyncio.tasks._unregister_task(f[{F}])
    asyncio.tasks._unregister_eager_task(f[{F}])
    asyncio.tasks._register_eager_task(f[{F}])
    asyncio.Task.cancel(f[{F}])
    asyncio.Task.get_coro(f[{F}])
    loop.set_task_factory({C})
    loop.set_task_factory(None)
    run_some(loop, f[{F}])
    run_some(loop, {CO})
    fastaio._fastaio._live_tasks()
    asyncio.capture_call_graph(f[{F}])
    """

HANDLES = """
    h[{H}] = loop.call_soon({C})
    h[{H}] = loop.call_soon({C}, {V})
    h[{H}] = loop.call_soon({C}, {V}, {V}, context={CTX})
    h[{H}] = loop.call_soon_threadsafe({C}, {V})
    h[{H}] = loop.call_later(0, {C}, {V})
    h[{H}] = loop.call_later(0.0001, {C}, {V})
    h[{H}] = loop.call_later({V}, {C})
    h[{H}] = loop.call_later(50, {C}, {V})
    h[{H}] = loop.call_at({V}, {C})
    h[{H}] = loop.call_at(loop.time(), {C}, {V}, context={CTX})
    loop.call_soon({C}, {V})
    loop.call_later(0, {C}, {V})
    loop.call_soon(h[{H}]._run)
    loop.call_soon(h[{H}].cancel)
    h[{H}].cancel()
    h[{H}].cancel()
    h[{H}]._run()
    h[{H}]._args = {V}
    h[{H}]._args = ({V}, {V})
    h[{H}]._callback = {C}
    h[{H}]._callback = {V}
    h[{H}]._cancelled = {V}
    h[{H}]._repr = {V}
    h[{H}]._loop = {V}
    h[{H}]._context = {V}
    h[{H}]._source_traceback = {V}
    h[{H}]._when = {V}
    h[{H}]._scheduled = {V}
    del h[{H}]._args
    del h[{H}]._callback
    x[{X}] = h[{H}]._args
    x[{X}] = h[{H}]
    repr(h[{H}])
    hash(h[{H}])
    h[{H}] == h[{H}]
    h[{H}] < h[{H}]
    h[{H}] == {V}
    h[{H}].when()
    h[{H}].get_context()
    h[{H}].__init__({C}, (), loop)
    h[{H}] = asyncio.Handle({C}, ({V},), loop)
    h[{H}] = asyncio.TimerHandle(loop.time(), {C}, ({V},), loop)
    loop._add_callback(h[{H}])
    h.pop({H}, None)
    h.pop({H}, None)
    x[{X}] = weakref.ref(h[{H}], {C})
    """

LOOP = """
    turn(loop)
    turn(loop)
    turn(loop)
    turn(loop)
    turn(loop, 3)
    gc.collect()
    gc.collect()
    loop.stop()
    loop.close()
    loop._ready
    loop._scheduled
    x[{X}] = loop._ready
    loop._ready.clear()
    loop._scheduled.clear()
    loop.set_debug({V})
    loop.set_debug(True)
    loop.set_exception_handler({C})
    loop.set_exception_handler({C})
    loop.call_exception_handler({"message": {V}, "future": f[{F}], "handle": h[{H}]})
    loop.default_exception_handler({"message": {V}, "task": f[{F}]})
    loop.default_exception_handler({V})
    loop.slow_callback_duration = {V}
    loop.slow_callback_duration = 0
    loop.time = {C}
    del loop.time
    loop.call_soon = {C}
    del loop.call_soon
    loop.create_future = {C}
    loop.create_task = {C}
    loop.call_exception_handler = {C}
    loop._thread_id = {V}
    loop._thread_id = None
    loop._closed = {V}
    loop._debug = {V}
    loop._stopping = True
    loop._close_native()
    stop_soon(loop); loop._run()
    loop._flush_transports()
    stop_soon(loop); loop._run_once()
    stop_soon(loop); loop.run_forever()
    asyncio._nest_patched = True
    loop.__init__()
    fastaio._fastaio.Loop.__init__(loop)
    loop.__del__()
    loop.metrics()
    loop.spin_us = {V}
    loop.warn_slow_callbacks = {V}
    loop.is_running()
    repr(loop)
    asyncio._set_running_loop({V})
    asyncio._set_running_loop(loop)
    asyncio.set_event_loop({V})
    gc.get_referents(loop)
    f[{F}] = loop.run_in_executor(None, {C})
    in_thread({M})
    in_thread(lambda: loop.call_soon_threadsafe({C}, {V}))
    in_thread(lambda: turn(loop))
    in_thread(lambda: loop.close())
    sys.setrecursionlimit(200)
    {C}()
    repr({V})
    var.set({V})
    b[{B}] = bytearray({N})
    b[{B}].extend(b"more than there was")
    b[{B}].clear()
    b[{B}][:] = b"other"
    b.pop({B}, None)
    x[{X}] = memoryview(b[{B}])
    x[{X}].release()
    x.pop({X}, None)
    x.pop({X}, None)
    x[{X}] = {V}
    x[{X}] = {CO}
    x[{X}].send(None)
    x[{X}].send(None)
    x[{X}].send({V})
    next(x[{X}])
    x[{X}].throw({E})
    x[{X}].throw(ValueError)
    x[{X}].close()
    x[{X}]()
    repr(x[{X}])
    x[{X}].clear()
    x[{X}] = weakref.finalize({V}, {C})
    """

IO = """
    t[{T}], s[{S}] = connect(loop, {P})
    t[{T}], s[{S}] = connect(loop, {P})
    t[{T}], s[{S}] = connect(loop, {P}, "tcp")
    t[{T}], s[{S}] = connect(loop, {P}, "unix", {M})
    t[{T}], s[{S}] = stream(loop, {R})
    t[{T}], s[{S}] = stream(loop, {R})
    t[{T}], s[{S}] = read_pipe(loop, {P})
    t[{T}], s[{S}] = write_pipe(loop, {P})
    t[{T}], s[{S}] = datagrams(loop, {DP})
    t[{T}], s[{S}] = datagrams(loop, {DP}, "udp")
    t[{T}], s[{S}] = datagrams(loop, {DP}, "unix", {M})
    x[{X}], address = listen(loop, {C})
    x[{X}], address = listen(loop, lambda: {P})
    s[{S}] = socket.create_connection(address)
    x[{X}].stop()
    x[{X}].start()
    t[{T}].write({D})
    t[{T}].write({D})
    t[{T}].write({D})
    t[{T}].write(b"x" * 100000)
    t[{T}].write(b"x" * 3000000)
    t[{T}].write({V})
    t[{T}].writelines([{D}, {D}])
    t[{T}].writelines({V})
    t[{T}].sendto({D})
    t[{T}].sendto({D}, {V})
    t[{T}].sendto({D}, s[{S}].getsockname())
    t[{T}].write_eof()
    t[{T}].close()
    t[{T}].abort()
    t[{T}].pause_reading()
    t[{T}].resume_reading()
    t[{T}].set_protocol({P})
    t[{T}].set_protocol({V})
    t[{T}].get_protocol()
    t[{T}].get_extra_info("socket")
    t[{T}].get_extra_info({V}, {V})
    t[{T}].get_extra_info("socket").detach()
    t[{T}].get_extra_info("socket")._sock.detach()
    t[{T}].get_extra_info("socket")._sock.close()
    t[{T}].get_extra_info("socket").shutdown({N})
    t[{T}].set_write_buffer_limits({N})
    t[{T}].set_write_buffer_limits(0, 0)
    t[{T}].set_write_buffer_limits({V}, {V})
    t[{T}].get_write_buffer_size()
    t[{T}].get_write_buffer_limits()
    t[{T}].is_closing()
    t[{T}].is_reading()
    t[{T}]._call_connection_lost(None)
    t[{T}]._call_connection_lost({E})
    t[{T}]._fatal_error({E}, {V})
    t[{T}]._force_close({E})
    t[{T}]._loop = {V}
    t[{T}]._sock = {V}
    t[{T}]._protocol = {V}
    t[{T}]._extra = {V}
    t[{T}]._buffer = {V}
    t[{T}]._buffer.clear()
    x[{X}] = t[{T}]._buffer
    t[{T}]._closing = {V}
    t[{T}]._conn_lost = {V}
    t[{T}]._paused = {V}
    t[{T}]._pipe = {V}
    t[{T}]._server = {V}
    t[{T}]._address = {V}
    t[{T}]._eof = {V}
    t[{T}]._read_ready()
    t[{T}]._write_ready()
    t[{T}]._flush()
    t[{T}].max_size = {N}
    t[{T}].__class__ = {V}
    t[{T}].__del__()
    t[{T}].__init__(loop, s[{S}], {P})
    f[{F}] = t[{T}]._make_empty_waiter()
    t[{T}]._reset_empty_waiter()
    repr(t[{T}])
    gc.get_referents(t[{T}])
    t.pop({T}, None)
    t.pop({T}, None)
    t[{T}] = t[{T}]
    x[{X}] = weakref.ref(t[{T}], {C})
    s[{S}].send(b"some data\\nand more")
    s[{S}].send(b"some data\\nand more")
    s[{S}].send(b"z" * 50000)
    s[{S}].send(b"z" * 200000)
    s[{S}].recv(1000000)
    s[{S}].recv(10)
    s[{S}].shutdown(socket.SHUT_WR)
    s[{S}].close()
    s[{S}].detach()
    s.pop({S}, None)
    watch_pair({S})
    watch_pair({S})
    h[{H}] = loop._add_reader(s[{S}].fileno(), {C}, {V})
    loop.add_reader(s[{S}], {C}, {V})
    loop.add_reader(s[{S}], {C}, {V})
    loop.add_writer(s[{S}], {C}, {V})
    loop.add_writer(s[{S}], {C}, {V})
    loop.add_reader({V}, {C}, {V})
    loop.remove_reader(s[{S}])
    loop.remove_writer(s[{S}])
    loop.remove_reader({V})
    x[{X}] = loop.sock_recv(s[{S}], {N})
    x[{X}] = loop.sock_recv_into(s[{S}], b[{B}])
    x[{X}] = loop.sock_recv_into(s[{S}], {V})
    x[{X}] = loop.sock_sendall(s[{S}], {D})
    x[{X}] = loop.sock_sendall(s[{S}], b"x" * 3000000)
    x[{X}] = loop.sock_sendall(s[{S}], b[{B}])
    x[{X}] = loop.sock_accept(s[{S}])
    x[{X}] = loop.sock_connect(s[{S}], {V})
    x[{X}] = loop.sock_recvfrom(s[{S}], {N})
    x[{X}] = loop.sock_recvfrom_into(s[{S}], b[{B}])
    x[{X}] = loop.sock_sendto(s[{S}], {D}, {V})
    f[{F}] = loop.create_task(loop.sock_recv(s[{S}], {N}))
    f[{F}] = loop.create_task(loop.sock_recv_into(s[{S}], b[{B}]))
    f[{F}] = loop.create_task(loop.sock_sendall(s[{S}], b[{B}]))
    f[{F}] = loop.create_task(loop.sock_sendall(s[{S}], b"x" * 3000000))
    f[{F}] = loop.create_task(x[{X}])
    """

STREAMS = """
    t[{T}], s[{S}] = stream(loop, {R})
    t[{T}], s[{S}] = stream(loop, {R})
    t[{T}], s[{S}] = stream(loop, {R}, 2**16)
    r[{R}] = asyncio.StreamReader(limit={N}, loop=loop)
    r[{R}].feed_data({D})
    r[{R}].feed_data({V})
    r[{R}].feed_eof()
    r[{R}].set_exception({E})
    x[{X}] = r[{R}].read({N})
    x[{X}] = r[{R}].read(-1)
    x[{X}] = r[{R}].read({V})
    x[{X}] = r[{R}].readline()
    x[{X}] = r[{R}].readexactly({N})
    x[{X}] = r[{R}].readuntil({V})
    x[{X}] = r[{R}].readuntil(b"\\n")
    f[{F}] = loop.create_task(r[{R}].read({N}))
    f[{F}] = loop.create_task(r[{R}].read(-1))
    f[{F}] = loop.create_task(r[{R}].readline())
    f[{F}] = loop.create_task(r[{R}].readexactly({N}))
    f[{F}] = loop.create_task(r[{R}].readuntil({V}))
    f[{F}] = loop.create_task(w[{R}].drain())
    f[{F}] = loop.create_task(w[{R}].wait_closed())
    w[{R}].write({D})
    w[{R}].writelines({V})
    w[{R}].close()
    w.pop({R}, None)
    r.pop({R}, None)
    r[{R}]._buffer
    x[{X}] = r[{R}]._buffer
    r[{R}]._buffer = {V}
    r[{R}]._buffer = bytearray(b"given")
    r[{R}]._buffer.clear()
    r[{R}]._buffer.extend(b"slipped in\\n")
    del r[{R}]._buffer
    r[{R}]._waiter
    r[{R}]._waiter = {V}
    r[{R}]._waiter = f[{F}]
    r[{R}]._waiter.set_result(None)
    r[{R}]._wakeup_waiter()
    r[{R}]._limit = {V}
    r[{R}]._eof = {V}
    r[{R}]._exception = {E}
    r[{R}]._paused = {V}
    r[{R}]._loop = {V}
    r[{R}]._transport = {V}
    r[{R}]._transport = None
    r[{R}].set_transport(t[{T}])
    r[{R}]._maybe_resume_transport()
    r[{R}].at_eof()
    r[{R}].__class__ = asyncio.StreamReader
    r[{R}].__dict__.clear()
    r[{R}].__init__(loop=loop)
    r[{R}].extra = {V}
    r[{R}].feed_data = {C}
    asyncio.StreamReader.feed_data(r[{R}], {D})
    asyncio.StreamReader.feed_eof(r[{R}])
    repr(r[{R}])
    gc.get_referents(r[{R}])
    t[{T}].get_protocol()._stream_reader
    t[{T}].get_protocol()._over_ssl = {V}
    t[{T}].get_protocol()._replace_writer({V})
    t[{T}].get_protocol().__class__ = {V}
    t[{T}].get_protocol().data_received = {C}
    t[{T}].get_protocol()._stream_reader_wr = {C}
    t[{T}].set_protocol(t[{T}].get_protocol())
    """

TLS = """
    t[{T}], t[{T}] = secure(loop, {P}, {P})
    t[{T}], t[{T}] = secure(loop, {P}, {P}); turn(loop, 8)
    t[{T}], t[{T}] = secure(loop, {P}, {P}); turn(loop, 8)
    turn(loop, 8)
    t[{T}]._ssl_protocol._transport.abort()
    t[{T}]._ssl_protocol._transport.close()
    t[{T}]._ssl_protocol._transport.write(b"no record")
    t[{T}]._ssl_protocol._abort({E})
    t[{T}]._ssl_protocol._app_protocol = {V}
    t[{T}]._ssl_protocol._app_transport = {V}
    t[{T}]._ssl_protocol._sslobj = {V}
    t[{T}]._ssl_protocol._incoming = {V}
    t[{T}]._ssl_protocol._outgoing = {V}
    t[{T}]._ssl_protocol._transport = {V}
    t[{T}]._ssl_protocol._loop = {V}
    t[{T}]._ssl_protocol._state = {V}
    t[{T}]._ssl_protocol._write_backlog = {V}
    t[{T}]._ssl_protocol._write_backlog.clear()
    t[{T}]._ssl_protocol._app_protocol_get_buffer = {C}
    t[{T}]._ssl_protocol._app_protocol_buffer_updated = {C}
    t[{T}]._ssl_protocol._extra = {V}
    t[{T}]._ssl_protocol._conn_lost = {V}
    t[{T}]._ssl_protocol.buffer_updated({N})
    x[{X}] = t[{T}]._ssl_protocol.get_buffer({N})
    t[{T}]._ssl_protocol._do_read()
    t[{T}]._ssl_protocol._do_write()
    t[{T}]._ssl_protocol._do_shutdown()
    t[{T}]._ssl_protocol._do_flush()
    t[{T}]._ssl_protocol._process_outgoing()
    t[{T}]._ssl_protocol._start_shutdown()
    t[{T}]._ssl_protocol._start_handshake()
    t[{T}]._ssl_protocol.connection_made(t[{T}])
    t[{T}]._ssl_protocol.connection_lost({E})
    t[{T}]._ssl_protocol.eof_received()
    t[{T}]._ssl_protocol._write_appdata({V})
    t[{T}]._ssl_protocol._set_app_protocol({P})
    t[{T}]._ssl_protocol._sslobj.unwrap()
    t[{T}]._ssl_protocol._sslobj.write(b"behind its back")
    t[{T}]._ssl_protocol._sslobj.read()
    t[{T}]._ssl_protocol._outgoing.read()
    t[{T}]._ssl_protocol._outgoing.write(b"rubbish")
    t[{T}]._ssl_protocol._incoming.write(b"rubbish")
    t[{T}]._ssl_protocol.__init__(loop, {P}, client_tls(), None)
    t[{T}].__init__(loop, t[{T}]._ssl_protocol)
    t[{T}]._ssl_protocol = {V}
    t[{T}].get_extra_info("ssl_object").context = {V}
    repr(t[{T}]._ssl_protocol)
    gc.get_referents(t[{T}]._ssl_protocol)
    """

# What meddles most, by the kind of thing that is at work.
MEDDLING = {
    "futures": """
        f[{F}].set_result({V})
        f[{F}].set_exception({E})
        f[{F}].cancel()
        f[{F}].add_done_callback({C})
        f[{F}].add_done_callback({C})
        f[{F}].remove_done_callback({C})
        f[{F}].remove_done_callback({V})
        f[{F}].__init__(loop=loop)
        f[{F}]._callbacks
        f[{F}]._log_traceback = False
        f[{F}]._cancel_message = {V}
        f.pop({F}, None)
        f.pop({F}, None)
        x.pop({X}, None)
        """,
    "tasks": """
        f[{F}].cancel({V})
        f[{F}].set_result({V})
        f[{F}].get_coro().close()
        f[{F}].get_coro().send(None)
        f[{F}].__init__({CO}, loop=loop)
        f[{F}].set_name({V})
        f[{F}].add_done_callback({C})
        f[{F}].remove_done_callback({V})
        f[{F}]._fut_waiter.cancel()
        f.pop({F}, None)
        f.pop({F}, None)
        asyncio.current_task(loop).cancel({V})
        asyncio.all_tasks(loop)
        turn(loop)
        """,
    "handles": """
        h[{H}]._args = {V}
        h[{H}]._args = ({V}, {V})
        h[{H}]._callback = {C}
        h[{H}].cancel()
        h[{H}].cancel()
        h[{H}]._run()
        h[{H}].__init__({C}, (), loop)
        h[{H}]._source_traceback = {V}
        h[{H}]._repr = {V}
        repr(h[{H}])
        h.pop({H}, None)
        h.pop({H}, None)
        loop.call_soon({C}, {V})
        turn(loop)
        """,
    "io": """
        t[{T}].abort()
        t[{T}].close()
        t[{T}].write({D})
        t[{T}].write(b"x" * 3000000)
        t[{T}].set_protocol({P})
        t[{T}].pause_reading()
        t[{T}].resume_reading()
        t[{T}].get_extra_info("socket").detach()
        t[{T}].get_extra_info("socket")._sock.close()
        t[{T}]._call_connection_lost(None)
        t[{T}]._fatal_error({E}, {V})
        t[{T}]._force_close({E})
        t[{T}]._flush()
        t[{T}]._buffer.clear()
        t.pop({T}, None)
        s[{S}].close()
        s.pop({S}, None)
        b[{B}].clear()
        b[{B}].extend(b"more than there was")
        loop.remove_reader(s[{S}])
        loop.remove_writer(s[{S}])
        loop.add_reader(s[{S}], {C}, {V})
        loop.add_writer(s[{S}], {C}, {V})
        x[{X}].close()
        x.pop({X}, None)
        turn(loop)
        """,
    "streams": """
        r[{R}].feed_data({D})
        r[{R}].feed_eof()
        r[{R}].set_exception({E})
        r[{R}]._buffer.clear()
        r[{R}]._buffer = bytearray(b"given")
        r[{R}]._buffer.extend(b"slipped in\\n")
        r[{R}]._waiter.set_result(None)
        r[{R}]._waiter = f[{F}]
        r[{R}]._transport = None
        r[{R}].__class__ = asyncio.StreamReader
        r[{R}].__init__(loop=loop)
        r[{R}].feed_data = {C}
        r.pop({R}, None)
        w.pop({R}, None)
        t[{T}].abort()
        t[{T}].set_protocol({P})
        f[{F}].cancel()
        x[{X}].send(None)
        x[{X}].close()
        x.pop({X}, None)
        turn(loop)
        """,
    "tls": """
        t[{T}].abort()
        t[{T}].close()
        t[{T}].write({D})
        t[{T}].set_protocol({P})
        t[{T}]._ssl_protocol._transport.abort()
        t[{T}]._ssl_protocol._abort({E})
        t[{T}]._ssl_protocol._sslobj = {V}
        t[{T}]._ssl_protocol._sslobj.unwrap()
        t[{T}]._ssl_protocol._transport = {V}
        t[{T}]._ssl_protocol._app_transport = {V}
        t[{T}]._ssl_protocol._outgoing = {V}
        t[{T}]._ssl_protocol._incoming = {V}
        t[{T}]._ssl_protocol._write_backlog.clear()
        t[{T}]._ssl_protocol._do_read()
        t[{T}]._ssl_protocol._do_write()
        t[{T}]._ssl_protocol.connection_lost({E})
        t[{T}]._ssl_protocol.__init__(loop, {P}, client_tls(), None)
        t.pop({T}, None)
        b[{B}].clear()
        b[{B}].extend(b"more than there was")
        turn(loop)
        """,
}

AWAITS = """
    await f[{F}]
    await f[{F}]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0.0001)
    await ({V})
    await x[{X}]
    await asyncio.wait_for(f[{F}], 0.0001)
    await asyncio.gather(f[{F}], f[{F}])
    await asyncio.wait([f[{F}], f[{F}]], timeout=0.0001)
    await r[{R}].read({N})
    await r[{R}].readline()
    await loop.sock_recv(s[{S}], {N})
    await loop.sock_sendall(s[{S}], {D})
    asyncio.current_task().cancel()
    asyncio.current_task().get_coro().close()
    asyncio.current_task()._fut_waiter
    asyncio.current_task().__init__({CO}, loop=loop)
    !return {V}
    !raise {E}
    !raise asyncio.CancelledError({V})
    """

VALUES = """
    None
    None
    0
    -1
    2**70
    1.5
    "text"
    b"bytes"
    ()
    [b"a", b"b"]
    {}
    object()
    True
    float("nan")
    loop
    f[{F}]
    h[{H}]
    t[{T}]
    s[{S}]
    x[{X}]
    b[{B}]
    r[{R}]
    print
    ValueError("value")
    {C}
    """


class Hostile(Grammar):
    """The grammar of hostile programs."""

    names = {
        "V": templates(VALUES),
        "futures": templates(FUTURES),
        "tasks": templates(TASKS),
        "handles": templates(HANDLES),
        "loop": templates(LOOP),
        "io": templates(IO),
        "streams": templates(STREAMS),
        "tls": templates(TLS),
        "awaits": templates(AWAITS),
        **{"meddling " + kind: templates(text) for kind, text in MEDDLING.items()},
        "CTX": ["None", "context({V})", "contextvars.copy_context()"],
        "D": ['b"data"', "b[{B}]", "memoryview(b[{B}])", 'b"d" * 1000', "{V}"],
    }
    deepest = 3

    def __init__(self, seed):
        super().__init__(random.Random(seed))
        # A program is about some of the kinds, so that its operations meet.
        kinds = ["futures", "tasks", "handles", "io", "streams", "tls"]
        weights = [3, 3, 3, 3, 2, 1]
        chosen = self.random.choices(kinds, weights, k=self.random.choice([1, 2, 2, 3]))
        self.kinds = [*chosen, *chosen, *chosen, "loop", "loop"]
        self.kind = chosen[0]
        self.last = {}
        # Each program knows a few of the operations only, and repeats them: those of 200 would
        # rarely meet those that they harm.
        self.names = {name: self.some(listed) for name, listed in self.names.items()}
        self.hooks = self.some([*HOOKS, *FAVOURITES * 8])
        self.callable = self.some(CALLABLE)

    def some(self, listed):
        count = self.random.choice([3, 5, 10, len(listed)])
        return self.random.sample(listed, min(count, len(listed)))

    def slot(self, kind, count):
        """A number of few, and often the last one: what meddles is to meet what is at work."""
        if kind not in self.last or self.random.random() < 0.25:
            self.last[kind] = self.random.randrange(count)
        return self.last[kind]

    def make_F(self):
        return self.slot("f", 3)

    def make_H(self):
        return self.slot("h", 2)

    def make_T(self):
        return self.slot("t", 2)

    make_S = make_T  # the other end of the same connection, mostly

    def make_R(self):
        return self.slot("r", 2)

    def make_B(self):
        return self.slot("b", 2)

    def make_X(self):
        return self.slot("x", 3)

    def make_N(self):
        return self.random.choice([0, 1, 2, 5, 10, 100, 1000, -1])

    def make_V(self):
        if self.depth < self.deepest and self.random.random() < 0.65:
            return self.make_evil()
        return self.op(self.random.choice(self.names["V"]))

    def make_evil(self):
        hooks = self.random.choice(self.hooks)
        base = self.random.choice(BASES)
        return self.hooked("evil({M}", hooks, base)

    def make_P(self):
        base = self.random.choice(["Protocol", "Protocol", "BufferedProtocol"])
        return self.hooked("protocol({M}", self.random.choice(PROTOCOL_HOOKS), base)

    def make_DP(self):
        return self.hooked("protocol({M}", self.random.choice(PROTOCOL_HOOKS), "DatagramProtocol")

    def hooked(self, call, hooks, base):
        then = self.random.choices(["", "raise", "weird", "exit"], [12, 2, 2, 1])[0]
        text = f'{call}, "{hooks}"'
        if base != "object":
            text += f', "{base}"'
        if then:
            text += f', then="{then}"'
        return self.op(text + ")")

    def make_M(self):
        if self.depth > self.deepest:
            return Op("nothing")
        return self.body(FUNCTION, self.meddling, [1, 1, 2, 3])

    def make_C(self):
        chance = self.random.random()
        if self.depth >= self.deepest or chance < 0.1:
            return self.op(self.random.choice(["int", "print", "default", "x[{X}]"]))
        if chance < 0.4:
            return self.op("{M}")
        if chance < 0.5:
            return self.op("functools.partial({M}, {V})")
        return self.hooked("evil({M}", self.random.choice(self.callable), "object")

    def make_CO(self):
        if self.depth >= self.deepest:
            return self.op("asyncio.sleep(0)")
        if self.random.random() < 0.15:
            return self.hooked("evil({M}", "send throw close", "Coroutine")
        return Op("{0}()", (self.body(COROUTINE, self.step, [1, 2, 3, 4]),))

    def make_E(self):
        if self.depth < self.deepest and self.random.random() < 0.4:
            base = self.random.choice(["Exception", "Exception", "CancelledError", "BaseException"])
            return self.hooked("evil({M}", self.random.choice(HOOKS), base)
        return self.op(
            self.random.choice(
                [
                    "ValueError({V})",
                    "KeyError",
                    "OSError(32, 'pipe')",
                    "asyncio.CancelledError()",
                    "StopIteration()",
                    "KeyboardInterrupt()",
                    "{V}",
                ]
            )
        )

    def body(self, head, statement, counts):
        self.depth += 1
        try:
            count = self.random.choice(counts)
            return Body(head, tuple(statement() for _ in range(count)))
        finally:
            self.depth -= 1

    def statement(self):
        """A statement about one of the kinds, which stays the kind until the next."""
        kind = self.random.choice(self.kinds)
        before, self.kind = self.kind, self.kind if kind == "loop" else kind
        if kind != "loop" and self.random.random() < 0.5:
            kind = "meddling " + kind
        try:
            return self.make(kind)
        finally:
            self.kind = before

    def meddling(self):
        if self.random.random() < 0.8:
            return self.make("meddling " + self.kind)
        return self.statement()

    def step(self):
        return self.make("awaits") if self.random.random() < 0.6 else self.statement()


# Each kind begins with what it is about, or nothing would ever be there.
FIRST = {
    "futures": ["f[{F}] = loop.create_future()"] * 3 + ["f[{F}].add_done_callback({C})"] * 3,
    "tasks": ["f[{F}] = loop.create_future()"] + ["f[{F}] = loop.create_task({CO})"] * 3,
    "handles": ["h[{H}] = loop.call_soon({C}, {V})", "h[{H}] = loop.call_later(0, {C}, {V})"] * 2,
    "io": [
        "t[{T}], s[{S}] = connect(loop, {P})",
        "t[{T}], s[{S}] = connect(loop, {P})",
        "t[{T}].write({D})",
        "b[{B}] = bytearray(100)",
        "x[{X}] = loop.sock_recv(s[{S}], 10)",
        "loop.add_reader(s[{S}], {C}, {V})",
    ],
    "streams": [
        "t[{T}], s[{S}] = stream(loop, {R})",
        "t[{T}], s[{S}] = stream(loop, {R})",
        "x[{X}] = r[{R}].read({N})",
        "f[{F}] = loop.create_task(r[{R}].readline())",
        's[{S}].send(b"some data")',
    ],
    "tls": ["t[0], t[1] = secure(loop, {P}, {P}); turn(loop, 8)", "t[{T}].write({D})"],
}

PROLOGUE = """\
from tests.fuzz.world import *

async def sleeper(future):
    return await future

loop = begin({backend!r}, debug={debug}, threshold={threshold}, sub={sub})
address = ("127.0.0.1", 1)"""


def generate(seed, backend, count=40):
    """The hostile program of a seed."""
    grammar = Hostile(seed)
    chance = grammar.random
    prologue = PROLOGUE.format(
        backend=backend,
        debug=chance.random() < 0.2,
        threshold=chance.choice([0, 0, 0, 5, 50]),
        sub=chance.random() < 0.15,
    )
    kinds = dict.fromkeys(grammar.kinds)
    ops = [grammar.op(text) for kind in kinds for text in FIRST.get(kind, ())]
    for _ in range(chance.randrange(5, count)):
        ops.append(grammar.statement())
        if chance.random() < 0.2:
            ops.append(Op("turn(loop)"))
    return Program(prologue, Body("", tuple(ops)), "end(loop)", guard="with quiet: ")
