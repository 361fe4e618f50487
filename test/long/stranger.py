"""A subscriber written by somebody who knows nothing but the contract: CloudEvents, and the AsyncAPI document that is published.

Reads every message of the topic that the document names, holds each whole against it, and prints, as JSON, how many events of each
type it has understood.
Usage: stranger.py BROKER_URL TOKEN ASYNCAPI_FILE
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
    """By event type, what holds a message against the document; with "" for a type that is not in it."""
    formats = jsonschema.FormatChecker()
    payloads = {type: f"#/components/messages/{type}/payload" for type in document["components"]["messages"]}
    return {
        type: jsonschema.Draft202012Validator({**document, "$ref": schema}, format_checker=formats)
        for type, schema in {**payloads, "": "#/components/schemas/envelope"}.items()
    }


async def main(url: str, token: str, asyncapi_file: str) -> None:
    with open(asyncapi_file, encoding="utf-8") as file:
        document = json.load(file)
    [topic] = [channel["address"] for channel in document["channels"].values()]
    of_type = validators(document)
    connection = await nats.connect(url, token=token)
    subscription = await connection.jetstream().subscribe(topic, ordered_consumer=True)
    understood: collections.Counter[str] = collections.Counter()
    sequences: dict[str, int] = {}
    pending = (await connection.jetstream().stream_info(topic)).state.messages
    for _ in range(pending):
        message = await subscription.next_msg(timeout=10)
        event = JSONFormat().read(CloudEvent, message.data)
        of_type.get(event.get_type(), of_type[""]).validate(json.loads(message.data))
        data = event.get_data()
        assert event.get_type() == data["eventType"]
        assert event.get_subject() == data["memberId"]
        # Whoever wants to keep order can: each member's events are counted.
        sequence = int(event.get_extension("sequence"))
        assert sequence <= sequences.get(event.get_subject(), 0) + 1, "a gap"
        sequences[event.get_subject()] = max(sequence, sequences.get(event.get_subject(), 0))
        understood[event.get_type()] += 1
    await connection.close()
    print(json.dumps(understood))


asyncio.run(main(*sys.argv[1:]))
