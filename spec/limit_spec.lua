-- The limits, on real sockets: each has its default, each can be set, and each ends a call with the kind "limit" at
-- once, however much more the server would send.
local lmm = require "lmm"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local settings = require "lmm.call.settings"

local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local MIB = 2 ^ 20
local FLOOD = ("x"):rep(32 * MIB)

local function whole(body)
  return ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
end

local function event(fields)
  return 'data: {"choices":[' .. fields .. "]}\n\n"
end

--- So many of a text, each with its number in the place of %d, with commas between.
local function list(count, text)
  local items = {}
  for i = 1, count do items[i] = text:gsub("%%d", i - 1) end
  return table.concat(items, ",")
end

local function nested(depth)
  return ("["):rep(depth) .. ("]"):rep(depth)
end

--- A line of the head that has no end is libcurl's to limit: it hands out whole lines only.
local LINE = "HTTP/1.1 200 OK\r\nX: "

local CALL, CHOICE = '{"index":%d,"id":"c%d","function":{"name":"f"}}', '{"index":%d,"delta":{"content":"a"}}'
local DONE = event '{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}' .. "data: [DONE]\n\n"

local function calls(count)
  return event('{"index":0,"delta":{"tool_calls":[' .. list(count, CALL) .. "]}}")
end

local function content(text)
  return event('{"index":0,"delta":{"content":"' .. text .. '"}}')
end

local function with(scenarios, opts, fn)
  local server = raw.start(scenarios)
  local given = { base_url = server.url, model = "m", retry = false, timeout = 50 }
  for name, value in pairs(opts) do given[name] = value end
  local ok, err = xpcall(function() fn(lmm.connect(given), server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local messages = { { role = "user", content = "q" } }

local function stream(client)
  return (client:stream { messages = messages }):reply()
end

local function several(client)
  return (client:stream { messages = messages, n = 3 }):reply()
end

local function chat(client)
  return client:chat { messages = messages }
end

--- Waits until the server sees that the client has closed a connection.
local function wait_closed(server, connection)
  process.wait_for("the end of connection " .. connection, function()
    for _, seen in ipairs(server:seen "closed") do
      if seen.connection == connection then return true end
    end
  end)
end

--- The most memory that this process ever had, in bytes.
local function high_water()
  return tonumber((process.read "/proc/self/status"):match "VmHWM:%s*(%d+)") * 1024
end

-- What, the limit and a value for it, what is within, what is beyond (and goes on where `flood` says so), how it is
-- asked for, what the message says.
local rows = {
  { "the head of a reply", { header = 4096 }, whole("{}"):gsub("\r\n", "\r\nX: " .. ("x"):rep(3900) .. "\r\n", 1),
    "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(5000) .. "\r\n", flood = true, ask = stream,
    says = "the reply's header is longer than 4096 bytes" },
  { "many lines of a head", { header = 4096 }, whole("{}"):gsub("\r\n", "\r\n" .. ("X: y\r\n"):rep(600), 1),
    "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(1000), ask = chat, says = "header is longer than 4096 bytes" },
  { "a reply", { reply = 10000 }, whole('{"x":"' .. ("x"):rep(9000) .. '"}'),
    "HTTP/1.1 200 OK\r\n\r\n{", flood = true, ask = chat, says = "longer than 10000 bytes" },
  { "a refusal", { reply = 10000 }, (whole(("x"):rep(9000)):gsub("200 OK", "400 Bad")),
    "HTTP/1.1 400 Bad\r\n\r\n{", flood = true, ask = chat, http = true },
  { "all of a stream", { reply = 10000 }, EVENTS .. content(("x"):rep(90)):rep(30) .. DONE,
    EVENTS .. content(("x"):rep(90)):rep(100000), ask = stream, says = "longer than 10000 bytes" },
  { "comments without end", { reply = 10000 }, EVENTS .. (": ping\n\n"):rep(1000) .. DONE,
    EVENTS .. (": ping\n\n"):rep(100000), ask = stream, says = "longer than 10000 bytes" },
  { "lists and objects of a reply", { reply = 10000 },
    whole('{"choices":[{"message":{"content":"a"}}],"x":[' .. ("[],"):rep(200) .. "[]]}"),
    whole('{"choices":[{"message":{"content":"a"}}],"x":[' .. ("[],"):rep(5000) .. "[]]}"), ask = chat,
    says = "longer than 10000 bytes" },
  { "events of nothing", { reply = 10000 }, EVENTS .. ("data:{}\n\n"):rep(200) .. DONE,
    EVENTS .. ("data:{}\n\n"):rep(2000) .. DONE, ask = stream, says = "longer than 10000 bytes" },
  { "an event", { event = 1000 }, EVENTS .. content(("x"):rep(900)) .. DONE,
    EVENTS .. content(("x"):rep(1000)) .. DONE, ask = stream, says = "an event is longer than 1000 bytes" },
  { "an event of many lines", { event = 1000 }, EVENTS .. ("data: \n"):rep(900) .. "\n" .. DONE,
    EVENTS .. ("data: \n"):rep(100000), ask = stream, says = "an event is longer than 1000 bytes" },
  { "a line without an end", { event = 1000 }, EVENTS .. ":" .. ("x"):rep(900) .. "\n\n" .. DONE, EVENTS .. "data: ",
    flood = true, ask = stream, says = "an event is longer than 1000 bytes" },
  { "a comment without an end", { event = 1000 }, EVENTS .. DONE, EVENTS .. ":", flood = true, ask = stream,
    says = "an event is longer than 1000 bytes" },
  { "how deep an answer is nested", { depth = 20 },
    whole('{"choices":[{"message":{"content":"a"}}],"x":' .. nested(19) .. "}"),
    whole('{"choices":[{"message":{"content":"a"}}],"x":' .. nested(20) .. "}"), ask = chat,
    says = "more than 20 deep" },
  { "how deep an event is nested", { depth = 20 },
    EVENTS .. 'data: {"choices":[],"x":' .. nested(19) .. "}\n\n" .. DONE,
    EVENTS .. 'data: {"choices":[],"x":' .. nested(100000) .. "}\n\n" .. DONE, ask = stream,
    says = "more than 20 deep" },
  { "how deep a list of models is nested", { depth = 20 }, whole('{"data":[{"id":"m"}],"x":' .. nested(19) .. "}"),
    whole(nested(100000)), ask = function(client) return client:models() end, says = "more than 20 deep" },
  { "how deep any JSON is nested", { depth = 20 }, whole(nested(20)), whole(nested(21)),
    ask = function(client) return client:request("GET", "/x") end, says = "more than 20 deep" },
  { "how deep a structured answer is nested", { depth = 20 },
    whole('{"choices":[{"message":{"content":"' .. nested(20) .. '"}}]}'),
    whole('{"choices":[{"message":{"content":"' .. nested(21) .. '"}}]}'), says = "more than 20 deep",
    ask = function(client) return client:chat({ messages = messages }, { schema = {} }) end },
  { "tool calls in one event", { calls = 5 }, EVENTS .. calls(5) .. DONE, EVENTS .. calls(6) .. DONE, ask = stream,
    says = "more than 5 calls in a reply" },
  { "tool calls over many", { calls = 5 }, EVENTS .. calls(5):rep(3) .. DONE, EVENTS .. calls(5)
    .. event('{"index":0,"delta":{"tool_calls":[{"index":77,"id":"x"}]}}') .. DONE, ask = stream, says = "5 calls" },
  { "tool calls of a whole message", { calls = 5 },
    whole('{"choices":[{"message":{"tool_calls":[' .. list(5, CALL) .. "]}}]}"),
    whole('{"choices":[{"message":{"tool_calls":[' .. list(6, CALL) .. "]}}]}"), ask = chat, says = "5 calls" },
  { "choices in one event", { choices = 3 },
    EVENTS .. event(list(3, (CHOICE:gsub("}}", '},"finish_reason":"stop"}')))),
    EVENTS .. event(list(4, CHOICE)) .. DONE, ask = stream, says = "more than 3 choices in a reply" },
  { "choices over many", { choices = 3 }, EVENTS .. DONE, EVENTS .. event(list(3, CHOICE))
    .. event '{"index":1000000000,"delta":{"content":"a"}}' .. DONE, ask = several, says = "3 choices" },
  { "choices of a whole answer", { choices = 3 },
    whole('{"choices":[' .. list(3, '{"index":%d,"message":{"content":"a"}}') .. "]}"),
    whole('{"choices":[' .. list(4, '{"index":%d,"message":{"content":"a"}}') .. "]}"), ask = chat,
    says = "3 choices" },
}

describe("limits", function()
  for _, row in ipairs(rows) do
    local name, value = next(row[2])
    it(("limits.%s: %s"):format(name, row[1]), function()
      local within = { { await = "request" }, { send = row[3] }, { close = true } }
      local beyond = { { await = "request" }, { send = row[4] }, row.flood and { send = FLOOD } or { await = "close" },
        { await = "close" } }
      with({ within, beyond }, { limits = { [name] = value } }, function(client, server)
        local _, message, err = row.ask(client)
        if err then assert(err.kind ~= "limit" and err.kind ~= "truncated", message) end
        local before = high_water()
        if row.http then -- what a refusal says matters more than how long it is
          err = assert.refused("HTTP 400", row.ask(client))
          assert.equal("http", err.kind)
        else
          err = assert.refused(row.says, row.ask(client))
          assert.same({ "limit", false, 1 }, { err.kind, err.retryable, err.attempts })
          assert(err.message:find("limits." .. name, 1, true), err.message)
        end
        if not row[4]:find "Content%-Length" then wait_closed(server, 2) end -- it did not wait for the rest
        if os.getenv "LMM_TEST_WRAP" == nil then
          assert(high_water() - before < 8 * MIB, ("grew by %d bytes"):format(high_water() - before))
        end
      end)
    end)
  end

  it("a line of a head without an end", function()
    local endless = { { await = "request" }, { send = LINE }, { send = FLOOD }, { await = "close" } }
    with({ endless }, {}, function(client, server)
      assert.equal("limit", assert.refused("a header line is longer than 100 KB", chat(client)).kind)
      wait_closed(server, 1)
    end)
  end)

  it("a head beyond what libcurl takes", function()
    local long = "HTTP/1.1 200 OK\r\n" .. ("X: " .. ("x"):rep(1000) .. "\r\n"):rep(400)
    with({ { { await = "request" }, { send = long }, { await = "close" } } }, { limits = { header = 1e6 } },
      function(client) assert.equal("limit", assert.refused("head is longer than 300 KB", chat(client)).kind) end)
  end)

  it("the defaults are those that are told", function()
    local told, count = settings.of_client("http://h").limits, 0
    local guide = process.read "doc/errors.md":match "## Limits(.*)"
    for name, text in pairs { header = "64 KiB", reply = "64 MiB", event = "64 MiB", depth = "1000", calls = "128",
      choices = "128", error = "2000 bytes" } do
      local row = guide:match("\n|[^\n|]*`" .. name .. "`[^\n]*")
      assert.matches("| " .. text .. " |$", row)
      local number, unit = text:match "^(%d+) ?(%a*)"
      assert.equal(number * (({ KiB = 1024, MiB = MIB })[unit] or 1), told[name], name)
      count = count + 1
    end
    for _ in pairs(told) do count = count - 1 end
    assert.equal(0, count)
  end)

  it("the defaults hold", function()
    with({ { { await = "request" }, { send = LINE .. ("x"):rep(70000) .. "\r\n" }, { hold = true } },
      { { await = "request" }, { send = EVENTS .. calls(129) }, { hold = true } },
      { { await = "request" }, { send = EVENTS .. event(list(129, CHOICE)) }, { hold = true } },
      { { await = "request" }, { send = whole(nested(1001)) }, { hold = true } } }, {}, function(client)
      local limits = { "longer than 65536 bytes", "more than 128 calls", "more than 128 choices", "1000 deep" }
      for _, says in ipairs(limits) do
        assert.equal("limit", assert.refused(says, stream(client)).kind)
      end
    end)
  end)

  it("limits as high as can be: deep JSON ends no process", function()
    local deep = '{"choices":[{"message":{"content":"a"}}],"x":' .. nested(2490) .. "}"
    with({ { { await = "request" }, { send = whole(nested(1000000)) } },
      { { await = "request" }, { send = whole(deep) } } },
      { limits = { depth = 2500, reply = math.huge, header = math.huge } }, function(client)
      assert.equal("limit", assert.refused("more than 2500 deep", chat(client)).kind)
      assert.equal("a", assert(chat(client)).text)
    end)
  end)
end)
