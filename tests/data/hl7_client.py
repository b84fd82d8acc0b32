"""Sends HL7 messages, one after the other, until a file appears; says who acknowledged each.

`keep` sends all over one connection, `each` over a connection of its own, which it half-closes before the
acknowledgement comes. Ends with 1 at the first message that is not acknowledged as it must be.
"""

import asyncio
import os
import sys

import hl7
from hl7.mllp import open_hl7_connection

PAUSE, ANSWER = 0.05, 5


def message(number):
    return hl7.parse(
        "MSH|^~\\&|MODALITY|LAB|ARCHIVE|LAB|20260101120000||ADT^A01|" + number + "|P|2.5\r"
        "PID|1||4711||Doe^Jane||19700101|F\r"
    )


async def tell(reader, writer, number, last):
    writer.writemessage(message(number))
    await writer.drain()
    if last:
        writer.write_eof()
    answer = await asyncio.wait_for(reader.readmessage(), ANSWER)
    told = str(answer.segment("MSA")[1]), str(answer.segment("MSA")[2])
    if told != ("AA", number):
        raise ValueError(f"{number} was answered with {told}")
    print("acknowledged", answer.segment("MSH")[3], flush=True)


async def keep():
    reader, writer = await open_hl7_connection(ADDRESS, PORT)
    number = 0
    while not os.path.exists(STOP):
        number += 1
        await tell(reader, writer, str(number), False)
        await asyncio.sleep(PAUSE)
    writer.close()


async def each():
    number = 0
    while not os.path.exists(STOP):
        number += 1
        reader, writer = await open_hl7_connection(ADDRESS, PORT)
        await tell(reader, writer, str(number), True)
        writer.close()


MODE, ADDRESS, PORT, STOP = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
try:
    asyncio.run({"keep": keep, "each": each}[MODE]())
except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
    sys.exit(f"ended: {error!r}")
