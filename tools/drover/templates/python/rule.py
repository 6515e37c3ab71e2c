"""Tells when a vehicle goes north of a latitude, and when it comes back. The contract is sdk/wit/v1.1/plugin.wit."""

import json

from componentize_py_types import Err
from wit_world.exports import Rule as Contract
from wit_world.imports.types import Descriptor, Kind, Outcome, Proposal

ENTERED, EXITED = 1, 2
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["latitude"],
    "properties": {
        "latitude": {
            "type": "number",
            "minimum": -90,
            "maximum": 90,
            "description": "Degrees; from here on it is north.",
        }
    },
}


class Rule(Contract):
    def describe(self):
        # One byte of state per vehicle: whether it was north.
        return Descriptor("{name}", "0.1.0", Kind.GEOFENCE, 1, 1, json.dumps(SCHEMA))

    def configure(self, config):
        # An Err that is raised here is told to the person who wrote the config.
        self.__class__.latitude = json.loads(config)["latitude"]

    def migrates_from(self):
        # The older versions of the state that migrate reads.
        return []

    def migrate(self, from_version, row_bytes, rows):
        raise Err(f"rows of state version {from_version} can't be read")

    def evaluate(self, readings, rows):
        rows, proposals = bytearray(rows), []
        for index, reading in enumerate(readings):
            was, is_north = rows[reading.slot] == 1, reading.latitude >= self.latitude
            rows[reading.slot] = 1 if is_north else 0
            if was != is_north:
                kind = ENTERED if is_north else EXITED
                proposals.append(Proposal(index, kind, reading.event_time_ms, float("nan"), "north", None))
        return Outcome(proposals, bytes(rows))
