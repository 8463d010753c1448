"""aiomysql and asyncmy with a real MariaDB: both are written on asyncio's streams."""

import asyncio

import pytest

from .apps import pattern
from .support import need


@pytest.fixture(params=["aiomysql", "asyncmy"])
def library(request):
    return need(request.param)


@pytest.fixture
def account(library, request):
    mariadb = request.getfixturevalue("mariadb")  # started only if there is the library
    return {
        "host": mariadb.host,
        "port": mariadb.port,
        "user": mariadb.user,
        "password": mariadb.password,
        "db": "traffic",
        "autocommit": True,
    }


async def ask(connection, query, *arguments):
    async with connection.cursor() as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchall()


def test_values_both_ways(library, account, stage):
    async def scenario():
        connection = await library.connect(**account)
        try:
            data = pattern(2_000_000).hex()
            ((answer,),) = await ask(connection, "select %s", data)
            assert answer == data
            rows = await ask(connection, "select seq, seq * 2 from seq_1_to_20000")
            assert list(rows) == [(number, number * 2) for number in range(1, 20001)]
        finally:
            await connection.ensure_closed()

    stage(scenario)


def test_many_queries_on_a_pool(library, account, stage):
    async def scenario():
        pool = await library.create_pool(minsize=2, maxsize=8, **account)

        async def query(number):
            async with pool.acquire() as connection:
                return (await ask(connection, "select %s", number))[0][0]

        assert await asyncio.gather(*map(query, range(300))) == list(range(300))
        pool.close()
        await pool.wait_closed()

    stage(scenario)


def test_a_transaction_that_is_rolled_back(library, account, stage):
    async def scenario():
        connection = await library.connect(**account)
        try:
            await ask(connection, "create temporary table numbers (n int primary key)")
            await ask(connection, "insert into numbers select seq from seq_1_to_1000")
            await connection.begin()
            await ask(connection, "delete from numbers where n > 10")
            await connection.rollback()
            assert (await ask(connection, "select count(*) from numbers"))[0] == (1000,)
            with pytest.raises(Exception, match="Duplicate"):
                await ask(connection, "insert into numbers values (5)")
        finally:
            await connection.ensure_closed()

    stage(scenario)


def test_a_query_that_is_given_up(library, account, stage):
    """The connection is of no more use, but goes without a trace; others are not disturbed."""

    async def scenario():
        pool = await library.create_pool(minsize=1, maxsize=4, **account)

        async def sleep():
            async with pool.acquire() as connection:
                await ask(connection, "select sleep(60)")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await sleep()
        async with pool.acquire() as connection:
            assert (await ask(connection, "select 1"))[0] == (1,)
        pool.terminate()
        await pool.wait_closed()

    stage(scenario)
