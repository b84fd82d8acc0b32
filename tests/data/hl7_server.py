"""A receiver of HL7 messages over MLLP: acknowledges each in its own name (MSH-3)."""

import asyncio
import sys

from hl7.mllp import start_hl7_server


async def receive(reader, writer):
    client = writer.get_extra_info("peername")[0]
    try:
        while True:
            message = await reader.readmessage()
            print("message", client, message.segment("MSH")[10], flush=True)
            writer.writemessage(message.create_ack(application=NAME))
            await writer.drain()
    except asyncio.IncompleteReadError:
        # The client has ended the connection: health checks and clients that are done.
        pass
    except ConnectionError as error:
        print("cut", client, error, flush=True)
    finally:
        writer.close()


async def serve():
    async with await start_hl7_server(receive, host="0.0.0.0", port=PORT) as server:
        await server.serve_forever()


NAME, PORT = sys.argv[1], int(sys.argv[2])
asyncio.run(serve())
