// Tells when a vehicle goes north of a latitude, and when it comes back. The contract is sdk/wit/v1.1/plugin.wit.
const KIND = { entered: 1, exited: 2 };
const NORTH = 1;

let config;

export const rule = {
  describe() {
    return {
      name: "{name}",
      version: "0.1.0",
      kind: "geofence",
      stateVersion: 1,
      // One byte of state per vehicle: whether it was north.
      rowBytes: 1,
      configSchema: JSON.stringify({
        $schema: "https://json-schema.org/draft/2020-12/schema",
        type: "object",
        additionalProperties: false,
        required: ["latitude"],
        properties: {
          latitude: { type: "number", minimum: -90, maximum: 90, description: "Degrees; from here on it is north." },
        },
      }),
    };
  },

  // What is thrown here is told to the person who wrote the config.
  configure(text) {
    config = JSON.parse(text);
  },

  // The older versions of the state that migrate reads.
  migratesFrom() {
    return [];
  },

  migrate(fromVersion) {
    throw `rows of state version ${fromVersion} can't be read`;
  },

  evaluate(readings, rows) {
    const proposals = [];
    readings.forEach((reading, index) => {
      const was = rows[reading.slot] === NORTH;
      const is = reading.latitude >= config.latitude;
      rows[reading.slot] = is ? NORTH : 0;
      if (was !== is) {
        const kind = is ? KIND.entered : KIND.exited;
        proposals.push({ reading: index, kind, eventTimeMs: reading.eventTimeMs, value: NaN, subject: "north" });
      }
    });
    return { proposals, rows };
  },
};
