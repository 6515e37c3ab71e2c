/* Tells when a vehicle goes north of a latitude, and when it comes back. */
#include "drover_plugin.h"

enum { ENTERED = 1, EXITED = 2 };

static double north;

void drover_describe(drover_descriptor *plugin) {
  plugin->name = drover_text("{name}");
  plugin->version = drover_text("0.1.0");
  plugin->kind = DROVER_GEOFENCE;
  plugin->state_version = 1;
  plugin->row_bytes = 1; /* whether it was north */
  plugin->config_schema = drover_text(
      "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"additionalProperties\":false,"
      "\"required\":[\"latitude\"],\"properties\":{\"latitude\":{\"type\":\"number\",\"minimum\":-90,\"maximum\":90,"
      "\"description\":\"Degrees; from here on it is north.\"}}}");
}

const char *drover_configure(const char *config, uint32_t len) {
  return drover_number(config, len, "latitude", &north) ? 0 : "there is no latitude";
}

const char *drover_evaluate(const drover_reading *readings, uint32_t count, uint8_t *rows, drover_proposals *proposals) {
  for (uint32_t index = 0; index < count; index++) {
    uint8_t *row = &rows[readings[index].slot];
    uint8_t is_north = readings[index].latitude >= north;
    if (*row != is_north) {
      drover_propose(proposals, index, &readings[index], is_north ? ENTERED : EXITED, drover_text("north"));
    }
    *row = is_north;
  }
  return 0;
}
