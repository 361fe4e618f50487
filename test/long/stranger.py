"""A subscriber written by somebody who knows nothing but the contract: CloudEvents, and the JSON Schema that is published.

Reads every message of the topic and prints, as JSON, how many events of each type it has understood.
Usage: stranger.py BROKER_URL TOKEN SCHEMA_FILE
"""

import asyncio
import collections
import json
import sys

import jsonschema
import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


async def main(url: str, token: str, schema_file: str) -> None:
    with open(schema_file, encoding="utf-8") as file:
        schema = json.load(file)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    connection = await nats.connect(url, token=token)
    subscription = await connection.jetstream().subscribe("member-external", ordered_consumer=True)
    understood: collections.Counter[str] = collections.Counter()
    sequences: dict[str, int] = {}
    pending = (await connection.jetstream().stream_info("member-external")).state.messages
    for _ in range(pending):
        message = await subscription.next_msg(timeout=10)
        event = JSONFormat().read(CloudEvent, message.data)
        data = event.get_data()
        validator.validate(data)
        assert event.get_type() == data["eventType"]
        assert event.get_subject() == data["memberId"]
        assert event.get_extension("sequence").isdigit() and event.get_extension("eventid")
        # Whoever wants to keep order can: each member's events are counted.
        sequence = int(event.get_extension("sequence"))
        assert sequence <= sequences.get(event.get_subject(), 0) + 1, "a gap"
        sequences[event.get_subject()] = max(sequence, sequences.get(event.get_subject(), 0))
        understood[event.get_type()] += 1
    await connection.close()
    print(json.dumps(understood))


asyncio.run(main(*sys.argv[1:]))
