-- usage: LUA bench/base64.lua      from the project's folder, after `make`
--
-- How fast base64 is encoded, in GB of input a second: by each kernel, by libb64 and by Python's pybase64.
-- "into a buffer" is what sending a request does: a C function, linked with the very object file that lmm.core is made
-- of, encodes into memory of its own. "into a string" is core.base64.encode, which pays for a new Lua string;
-- pybase64 stands there too, for it gives a new bytes object. All run in turn, several times; the best time counts.
-- $CC is the compiler (default cc), $PYTHON the interpreter that may have pybase64 (default python3).

local core = require "lmm.core"

local size = 96 * 1024
local rounds = 7
local seconds = 0.05 -- of CPU time, for one measurement

local program = [[
#include <b64/cencode.h>
#include <stdlib.h>
#include <time.h>
#include "lmm.h"

#define SIZE ((size_t)%d)
#define SECONDS %g

/* As all versions of Lua have them, so that no header is needed. */
void lua_pushnumber(struct lua_State *L, double number);
const char *lua_pushstring(struct lua_State *L, const char *text);

static unsigned char in[SIZE];
static char out[2 * SIZE];

/* libb64 as its own documentation uses it: one block, lines of 72 characters. */
static void encode_lines(void) {
  base64_encodestate state;
  base64_init_encodestate(&state);
  int length = base64_encode_block((const char *)in, (int)SIZE, out, &state);
  (void)base64_encode_blockend(out + length, &state);
}

static int measure(struct lua_State *L, const char *name, const lmm_base64_kernel *kernel) {
  clock_t begin = clock(), spent;
  double bytes = 0;
  do {
    for (int i = 0; i < 10; i++, bytes += SIZE) {
      if (kernel == NULL) encode_lines();
      else (void)lmm_base64_encode(kernel, out, in, SIZE);
    }
    spent = clock() - begin;
  } while (spent < (clock_t)(SECONDS * CLOCKS_PER_SEC));
  lua_pushstring(L, name);
  lua_pushnumber(L, bytes / ((double)spent / CLOCKS_PER_SEC) * 1e-9);
  return 2;
}

/* measure() -> name, speed, name, speed ... */
int lmm_bench(struct lua_State *L) {
  for (size_t i = 0; i < SIZE; i++) in[i] = (unsigned char)rand();
  int values = measure(L, "lines", NULL);
  for (const lmm_base64_kernel *kernel = lmm_base64_kernels; kernel->name != NULL; kernel++)
    if (kernel->supported()) values += measure(L, kernel->name, kernel);
  return values;
}
]]

local script = [[
import os, sys, time, pybase64
data, seconds = os.urandom(int(sys.argv[1])), float(sys.argv[2])
begin, count, spent = time.process_time(), 0, 0
while spent < seconds:
    for _ in range(10): pybase64.b64encode(data)
    count += 10
    spent = time.process_time() - begin
print(count * len(data) / spent * 1e-9)
]]

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- The first line that `command` prints.
local function first_line(command)
  local run = assert(io.popen(command))
  local line = run:read "*l"
  run:close()
  return line
end

-- base64.o lies in the folder above the module that was loaded.
local function find_object()
  for template in package.cpath:gmatch "[^;]+" do
    local module = io.open((template:gsub("%?", "lmm/core")))
    if module then
      module:close()
      local name = template:gsub("%?.*", "") .. "base64.o"
      local object = io.open(name)
      if object then object:close() end
      return object and name
    end
  end
end

-- Compiles and loads the C function.
local function compile()
  local object = find_object()
  if not object then return nil, "base64.o was not found beside lmm/core.so" end
  local source, library = os.tmpname(), os.tmpname()
  local file = assert(io.open(source, "w"))
  file:write(program:format(size, seconds))
  file:close()
  os.execute(string.format("%s -std=gnu99 -O2 -fPIC -shared -Isrc -o %s -x c %s -x none %s -lb64",
    os.getenv "CC" or "cc", quote(library), quote(source), quote(object)))
  local bench, why = package.loadlib(library, "lmm_bench")
  os.remove(source)
  os.remove(library)
  return bench, why
end

local text
do
  local bytes = {}
  for i = 1, size do bytes[i] = string.char(math.random(0, 255)) end
  text = table.concat(bytes)
end

local function measure(kernel)
  local encode, begin, count, spent = core.base64.encode, os.clock(), 0
  repeat
    for _ = 1, 10 do encode(text, kernel) end
    count = count + 10
    spent = os.clock() - begin
  until spent >= seconds
  return count * size / spent * 1e-9
end

local kernels = core.base64.kernels()
local buffer, strings = {}, {} -- best speeds so far, by name

local function keep(best, name, speed)
  if speed and speed > (best[name] or 0) then best[name] = speed end
end

local function column(value, format)
  return string.format("%16s", value and format:format(value) or "-")
end

local function row(name, from_buffer, from_string, format)
  print(string.format("%-24s", name) .. column(from_buffer, format) .. column(from_string, format))
end

local function ratio(a, b)
  return a and b and a / b
end

local function keep_all(best, name, speed, ...)
  if not name then return end
  keep(best, name, speed)
  return keep_all(best, ...)
end

local python = quote(os.getenv "PYTHON" or "python3")
local has_python = first_line(python .. " -c 'import pybase64; print(1)' 2>/dev/null")
local bench, why = compile()

for _ = 1, rounds do
  if bench then keep_all(buffer, bench()) end
  for _, kernel in ipairs(kernels) do keep(strings, kernel, measure(kernel)) end
  if has_python then
    local command = string.format("%s -c %s %d %g", python, quote(script), size, seconds)
    keep(strings, "pybase64", tonumber(first_line(command)))
  end
end

print(string.format("base64 of %d KiB: GB/s of input, best of %d rounds (%s)", size / 1024, rounds, _VERSION))
print(string.format("%-24s%16s%16s", "", "into a buffer", "into a string"))
for _, kernel in ipairs(kernels) do row("lmm, " .. kernel, buffer[kernel], strings[kernel], "%.2f") end
row("libb64, with its lines", buffer.lines, nil, "%.2f")
row("pybase64", nil, strings.pybase64, "%.2f")
local best = kernels[1]
row("lmm / libb64", ratio(buffer[best], buffer.lines), ratio(strings[best], buffer.lines), "%.1f x")
row("lmm / pybase64", ratio(buffer[best], strings.pybase64), ratio(strings[best], strings.pybase64), "%.2f x")
if why then print("nothing was measured into a buffer: " .. why) end
if not has_python then print("pybase64 was not measured: " .. python .. " cannot import it ($PYTHON)") end
