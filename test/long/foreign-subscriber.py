"""A subscriber that uses the published contract only: CloudEvents and the AsyncAPI document.

Reads every message of the document's topic, validates its whole envelope, and prints the number of events by type, as JSON.
Usage: foreign-subscriber.py BROKER_URL ASYNCAPI_FILE
"""

import asyncio
import collections
import json
import sys

import jsonschema
import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


def validators(document: dict) -> dict[str, jsonschema.Draft202012Validator]:
    """Returns validators of the document's messages by event type, with "" for types that are not in it."""
    formats = jsonschema.FormatChecker()
    payloads = {type: f"#/components/messages/{type}/payload" for type in document["components"]["messages"]}
    return {
        type: jsonschema.Draft202012Validator({**document, "$ref": schema}, format_checker=formats)
        for type, schema in {**payloads, "": "#/components/schemas/envelope"}.items()
    }


async def main(url: str, asyncapi_file: str) -> None:
    with open(asyncapi_file, encoding="utf-8") as file:
        document = json.load(file)
    [topic] = [channel["address"] for channel in document["channels"].values()]
    validator_of = validators(document)
    connection = await nats.connect(url)
    subscription = await connection.jetstream().subscribe(topic, ordered_consumer=True)
    counts: collections.Counter[str] = collections.Counter()
    sequences: dict[str, int] = {}
    pending = (await connection.jetstream().stream_info(topic)).state.messages
    for _ in range(pending):
        message = await subscription.next_msg(timeout=10)
        event = JSONFormat().read(CloudEvent, message.data)
        validator_of.get(event.get_type(), validator_of[""]).validate(json.loads(message.data))
        data = event.get_data()
        assert event.get_type() == data["eventType"]
        assert event.get_subject() == data["memberId"]
        # Each member's events are numbered, so that subscribers can keep them in order.
        sequence = int(event.get_extension("sequence"))
        assert sequence <= sequences.get(event.get_subject(), 0) + 1, "a gap"
        sequences[event.get_subject()] = max(sequence, sequences.get(event.get_subject(), 0))
        counts[event.get_type()] += 1
    await connection.close()
    print(json.dumps(counts))


asyncio.run(main(*sys.argv[1:]))
