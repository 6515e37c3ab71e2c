/* Drover's plugin contract for C: what sdk/wit/v1.1/plugin.wit says, as the canonical ABI of the component model lays it out
 * for wasm32. One file of the project includes it, and defines the three functions below. No library is needed.
 *
 * Memory is an arena that is emptied after each call: what outlives a call lies in static variables. */
#pragma once

typedef unsigned char uint8_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
typedef __SIZE_TYPE__ size_t;

typedef struct { const char *bytes; uint32_t len; } drover_string;

/* A fix of one vehicle with its signals. A signal that was not reported is NaN. */
typedef struct {
  uint64_t vehicle, sequence;
  int64_t event_time_ms;
  double latitude, longitude, odometer;
  float altitude, heading, speed, horizontal_accuracy, engine_hours, engine_speed, fuel_level, state_of_charge;
  float engine_coolant_temperature, battery_voltage;
  uint32_t slot, status, trouble_codes[4];
} drover_reading;
_Static_assert(sizeof(drover_reading) == 112, "as the contract says");

typedef struct {
  uint32_t reading, kind;
  int64_t event_time_ms;
  double value;
  drover_string subject;
  uint8_t has_details;
  drover_string details; /* a JSON object */
} drover_proposal;
_Static_assert(sizeof(drover_proposal) == 48, "as the contract says");

enum { DROVER_GEOFENCE = 0, DROVER_PRICING = 1, DROVER_MAINTENANCE = 2 };

typedef struct {
  drover_string name, version;
  uint8_t kind;
  uint32_t state_version, row_bytes;
  drover_string config_schema;
} drover_descriptor;

typedef struct { drover_proposal *list; uint32_t count, room; } drover_proposals;

/* What the author defines. The last two answer 0, or what is wrong in words. */
void drover_describe(drover_descriptor *plugin);
const char *drover_configure(const char *config, uint32_t len);
const char *drover_evaluate(const drover_reading *readings, uint32_t count, uint8_t *rows, drover_proposals *proposals);

extern uint8_t __heap_base;
static uint8_t *drover_top;

static void *drover_alloc(uint32_t align, uint32_t len) {
  if (!drover_top) drover_top = &__heap_base;
  uint8_t *at = (uint8_t *)(((size_t)drover_top + align - 1) & ~(size_t)(align - 1));
  drover_top = at + len;
  size_t pages = ((size_t)drover_top + 65535) / 65536, have = __builtin_wasm_memory_size(0);
  if (pages > have && __builtin_wasm_memory_grow(0, pages - have) == (size_t)-1) __builtin_trap();
  return at;
}

static inline uint32_t drover_len(const char *text) {
  uint32_t len = 0;
  while (text[len]) len++;
  return len;
}

static inline drover_string drover_text(const char *text) {
  return (drover_string){text, drover_len(text)};
}

/* The number of this member of a flat JSON object; 0 when there is none. */
static int drover_number(const char *json, uint32_t len, const char *name, double *number) {
  uint32_t name_len = drover_len(name);
  for (uint32_t at = 0; at + name_len + 2 < len; at++) {
    uint32_t same = 0;
    while (same < name_len && json[at + 1 + same] == name[same]) same++;
    if (json[at] != '"' || same < name_len || json[at + 1 + name_len] != '"') continue;
    at += name_len + 2;
    while (at < len && (json[at] == ' ' || json[at] == ':')) at++;
    double sign = 1, value = 0, divisor = 1;
    int digits = 0, point = 0;
    if (at < len && json[at] == '-') sign = -1, at++;
    for (; at < len && ((json[at] >= '0' && json[at] <= '9') || (json[at] == '.' && !point)); at++) {
      if (json[at] == '.') { point = 1; continue; }
      value = value * 10 + (json[at] - '0');
      if (point) divisor *= 10;
      digits++;
    }
    *number = sign * value / divisor;
    return digits > 0;
  }
  return 0;
}

/* An event caused by the reading with this index, at its time. */
static void drover_propose(drover_proposals *proposals, uint32_t index, const drover_reading *reading, uint32_t kind,
                           drover_string subject) {
  if (proposals->count == proposals->room) {
    uint32_t room = proposals->room ? 2 * proposals->room : 16;
    drover_proposal *list = drover_alloc(8, room * sizeof(drover_proposal));
    for (uint32_t i = 0; i < proposals->count; i++) list[i] = proposals->list[i];
    proposals->list = list;
    proposals->room = room;
  }
  drover_proposal proposal = {index, kind, reading->event_time_ms, __builtin_nan(""), subject, 0, {0, 0}};
  proposals->list[proposals->count++] = proposal;
}

#define DROVER_EXPORT(name) __attribute__((export_name(name), used))

DROVER_EXPORT("cabi_realloc")
void *drover_realloc(void *old, uint32_t old_len, uint32_t align, uint32_t len) {
  uint8_t *at = drover_alloc(align, len);
  for (uint32_t i = 0; i < old_len && i < len; i++) at[i] = ((uint8_t *)old)[i];
  return at;
}

DROVER_EXPORT("drover:plugin/rule@1.1.0#describe")
drover_descriptor *drover_export_describe(void) {
  drover_descriptor *plugin = drover_alloc(4, sizeof(drover_descriptor));
  drover_describe(plugin);
  return plugin;
}

typedef struct { uint32_t is_error; drover_string text; } drover_result;

static drover_result *drover_said(const char *wrong) {
  drover_result *result = drover_alloc(4, sizeof(drover_result));
  result->is_error = wrong != 0;
  result->text = wrong ? drover_text(wrong) : (drover_string){0, 0};
  return result;
}

DROVER_EXPORT("drover:plugin/rule@1.1.0#configure")
drover_result *drover_export_configure(const char *config, uint32_t len) {
  return drover_said(drover_configure(config, len));
}

/* A project that changes its state's layout writes its own of these two. */
#ifndef DROVER_OWN_MIGRATE
typedef struct { uint32_t *versions; uint32_t count; } drover_versions;

DROVER_EXPORT("drover:plugin/rule@1.1.0#migrates-from")
drover_versions *drover_export_migrates_from(void) {
  drover_versions *none = drover_alloc(4, sizeof(drover_versions));
  *none = (drover_versions){(uint32_t *)4, 0};
  return none;
}

DROVER_EXPORT("drover:plugin/rule@1.1.0#migrate")
drover_result *drover_export_migrate(uint32_t from, uint32_t row_bytes, uint8_t *rows, uint32_t rows_len) {
  return drover_said("rows of another state version can't be read");
}
#endif

typedef struct { uint32_t is_error; drover_proposal *proposals; uint32_t count; uint8_t *rows; uint32_t rows_len; } drover_outcome;

DROVER_EXPORT("drover:plugin/rule@1.1.0#evaluate")
void *drover_export_evaluate(drover_reading *readings, uint32_t count, uint8_t *rows, uint32_t rows_len) {
  drover_proposals proposals = {0, 0, 0};
  const char *wrong = drover_evaluate(readings, count, rows, &proposals);
  if (wrong) return drover_said(wrong);
  drover_outcome *outcome = drover_alloc(4, sizeof(drover_outcome));
  *outcome = (drover_outcome){0, proposals.list ? proposals.list : (drover_proposal *)8, proposals.count, rows, rows_len};
  return outcome;
}

static void drover_empty(void *answer) { drover_top = &__heap_base; }
DROVER_EXPORT("cabi_post_drover:plugin/rule@1.1.0#describe") void drover_post_describe(void *a) { drover_empty(a); }
DROVER_EXPORT("cabi_post_drover:plugin/rule@1.1.0#configure") void drover_post_configure(void *a) { drover_empty(a); }
DROVER_EXPORT("cabi_post_drover:plugin/rule@1.1.0#migrate") void drover_post_migrate(void *a) { drover_empty(a); }
DROVER_EXPORT("cabi_post_drover:plugin/rule@1.1.0#evaluate") void drover_post_evaluate(void *a) { drover_empty(a); }
