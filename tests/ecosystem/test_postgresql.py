"""asyncpg (a protocol on transports) and psycopg (add_reader and libpq) with a real PostgreSQL."""

import asyncio
import ssl

import pytest

from ..ioutil import until
from ..support import GUARD
from .apps import pattern
from .support import need

BIG = 3_000_000

SLEEPERS = (
    "select count(*) from pg_stat_activity where query like '%pg_sleep(60)' and state = 'active'"
)


def is_active(pid):
    """Whether that process of the server runs a query: one that has not begun is not cancelled."""
    return f"select state = 'active' from pg_stat_activity where pid = {pid}"


def arguments(server):
    return {"host": server.host, "port": server.port, "user": server.user}


class TestAsyncpg:
    @pytest.fixture
    def asyncpg(self):
        return need("asyncpg")

    @pytest.fixture
    def connect(self, asyncpg, request):
        postgresql = request.getfixturevalue("postgresql")  # started only if there is the library

        def connect(kind=asyncpg.connect, **options):
            return kind(
                **arguments(postgresql),
                password=postgresql.password,
                database="postgres",
                **{"ssl": False, **options},
            )

        return connect

    def test_values_both_ways(self, connect, stage):
        async def scenario():
            connection = await connect()
            try:
                data = pattern(BIG)
                assert await connection.fetchval("select $1::bytea", data) == data
                rows = await connection.fetch("select n, n::text from generate_series(1, 20000) n")
                assert [tuple(row) for row in rows] == [(n, str(n)) for n in range(1, 20001)]
            finally:
                await connection.close()

        stage(scenario)

    def test_many_queries_on_a_pool(self, connect, asyncpg, stage):
        async def scenario():
            async with connect(asyncpg.create_pool, min_size=4, max_size=8) as pool:
                numbers = range(300)
                answers = await asyncio.gather(
                    *(pool.fetchval("select $1::int * 2", number) for number in numbers)
                )
                assert answers == [number * 2 for number in numbers]
                # Some are given up half-way: the pool puts their connections right.
                tasks = [
                    asyncio.create_task(pool.fetchval("select pg_sleep(60)")) for _ in range(8)
                ]
                # Not before they run: asyncpg asks the server to end what is running.
                watcher = await connect()
                async with asyncio.timeout(GUARD):
                    while await watcher.fetchval(SLEEPERS) < 8:
                        await asyncio.sleep(0.01)
                await watcher.close()
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(result) for result in results} == {asyncio.CancelledError}
                assert await pool.fetchval("select 1") == 1

        stage(scenario)

    def test_cancellation_reaches_the_server(self, connect, stage):
        """asyncpg asks for it over a connection of its own."""

        async def scenario():
            connection, watcher = await connect(), await connect()
            try:
                sleeping = asyncio.create_task(connection.execute("select pg_sleep(60)"))
                while not await watcher.fetchval(is_active(connection.get_server_pid())):
                    pass
                sleeping.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sleeping
                with pytest.raises(TimeoutError):
                    await connection.execute("select pg_sleep(60)", timeout=1)
                assert await connection.fetchval(SLEEPERS) == 0
            finally:
                await connection.close()
                await watcher.close()

        stage(scenario)

    def test_copy_and_transactions(self, connect, asyncpg, stage):
        async def scenario():
            connection = await connect()
            try:
                await connection.execute("create temp table numbers (n int primary key, t text)")
                rows = [(number, f"text {number}" * 20) for number in range(10_000)]
                await connection.copy_records_to_table("numbers", records=rows)
                with pytest.raises(asyncpg.UniqueViolationError):
                    async with connection.transaction():
                        await connection.execute("delete from numbers where n > 10")
                        await connection.execute("insert into numbers values (5, '')")
                received = []

                async def keep(data):
                    received.append(data)

                await connection.copy_from_query("select n from numbers order by n", output=keep)
                assert b"".join(received).split() == [b"%d" % number for number in range(10_000)]
                async with connection.transaction():
                    found = [row["n"] async for row in connection.cursor("select n from numbers")]
                assert len(found) == 10_000
            finally:
                await connection.close()

        stage(scenario)

    def test_notifications(self, connect, stage):
        async def scenario():
            listener, speaker = await connect(), await connect()
            try:
                heard = []
                await listener.add_listener("news", lambda *message: heard.append(message[3]))
                for number in range(100):
                    await speaker.execute(f"notify news, '{number}'")
                await until(lambda: len(heard) == 100)
                assert heard == [str(number) for number in range(100)]
            finally:
                await listener.close()
                await speaker.close()

        stage(scenario)

    def test_a_connection_that_the_server_ends(self, connect, asyncpg, stage):
        async def scenario():
            victim, killer = await connect(), await connect()
            try:
                waiting = asyncio.create_task(victim.execute("select pg_sleep(60)"))
                await asyncio.sleep(0)
                pid = victim.get_server_pid()
                while not await killer.fetchval(is_active(pid)):
                    pass
                await killer.execute(f"select pg_terminate_backend({pid})")
                with pytest.raises(
                    (asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)
                ):
                    await waiting
                await until(victim.is_closed)
            finally:
                await killer.close()

        stage(scenario)

    def test_tls(self, asyncpg, stage):
        """The connection begins in plain text and is upgraded."""
        trustme = need("trustme")
        from .servers import LOCALHOST, PostgreSQL

        authority = trustme.CA()
        issued = authority.issue_cert(LOCALHOST)
        certificate = b"".join(part.bytes() for part in issued.cert_chain_pems)
        context = ssl.create_default_context()
        authority.configure_trust(context)

        async def scenario():
            connections = await asyncio.gather(
                *(
                    asyncpg.connect(
                        **arguments(server),
                        password=server.password,
                        database="postgres",
                        ssl=context,
                    )
                    for _ in range(5)
                )
            )
            data = pattern(BIG)
            answers = await asyncio.gather(
                *(connection.fetchval("select $1::bytea", data) for connection in connections)
            )
            assert all(answer == data for answer in answers)
            encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
            assert await connections[0].fetchval(encrypted) is True
            sleeping = asyncio.create_task(connections[0].execute("select pg_sleep(60)"))
            while not await connections[1].fetchval(is_active(connections[0].get_server_pid())):
                pass
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeping
            assert await connections[0].fetchval("select 1") == 1
            for connection in connections:
                await connection.close()

        with PostgreSQL(certificate, issued.private_key_pem.bytes()) as server:
            stage(scenario)


class TestPsycopg:
    @pytest.fixture
    def psycopg(self):
        return need("psycopg")

    @pytest.fixture
    def connect(self, psycopg, request):
        postgresql = request.getfixturevalue("postgresql")  # started only if there is the library

        def connect():
            return psycopg.AsyncConnection.connect(
                **arguments(postgresql),
                password=postgresql.password,
                dbname="postgres",
                sslmode="disable",
                autocommit=True,
            )

        return connect

    def test_values_both_ways(self, connect, stage):
        async def scenario():
            async with await connect() as connection:
                data = pattern(BIG)
                cursor = await connection.execute("select %s::bytea", [data])
                assert await cursor.fetchone() == (data,)
                cursor = await connection.execute("select n from generate_series(1, 20000) n")
                assert [row[0] async for row in cursor] == list(range(1, 20001))

        stage(scenario)

    def test_many_connections_at_once(self, connect, stage):
        async def client(number):
            async with await connect() as connection:
                for turn in range(10):
                    cursor = await connection.execute("select %s::int", [number * 100 + turn])
                    assert await cursor.fetchone() == (number * 100 + turn,)

        async def scenario():
            await asyncio.gather(*(client(number) for number in range(20)))

        stage(scenario)

    def test_cancellation_reaches_the_server(self, connect, stage):
        async def scenario():
            async with await connect() as connection, await connect() as watcher:
                sleeping = asyncio.create_task(connection.execute("select pg_sleep(60)"))
                active = is_active(connection.info.backend_pid)
                while await (await watcher.execute(active)).fetchone() != (True,):
                    pass
                sleeping.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sleeping
                cursor = await connection.execute("select 1")
                assert await cursor.fetchone() == (1,)

        stage(scenario)

    def test_copy_pipeline_and_notifications(self, connect, stage):
        async def scenario():
            async with await connect() as connection, await connect() as other:
                await connection.execute("create temp table numbers (n int)")
                async with connection.cursor() as cursor:
                    async with cursor.copy("copy numbers from stdin") as copy:
                        for number in range(5000):
                            await copy.write_row((number,))
                    async with cursor.copy("copy (select n from numbers) to stdout") as copy:
                        assert [int(row[0]) async for row in copy.rows()] == list(range(5000))
                async with connection.pipeline():
                    cursors = [
                        await connection.execute("select %s::int", [number])
                        for number in range(100)
                    ]
                assert [(await c.fetchone())[0] for c in cursors] == list(range(100))

                await connection.execute("listen news")
                for number in range(20):
                    await other.execute(f"notify news, '{number}'")
                heard = [n.payload async for n in connection.notifies(timeout=20, stop_after=20)]
                assert heard == [str(number) for number in range(20)]

        stage(scenario)
