-- Replies that end too soon, on real sockets, cut at every byte: never a success where something is missing, always the
-- kind "truncated" where the answer had begun, with the text that had arrived.
local lmm = require "lmm"
local raw = require "spec.support.raw"

local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n"
local EVENT_STREAM, JSON = "text/event-stream", "application/json"
local messages = { { role = "user", content = "q" } }

-- Written out, since an encoder's order of keys differs from run to run, and with it what stands before a cut.
local function event(content, finish_reason)
  local finish = finish_reason and (',"finish_reason":"%s"'):format(finish_reason) or ""
  return ('data: {"choices":[{"index":0,"delta":{"content":"%s"}%s}]}\n\n'):format(content, finish)
end

local function counted(type_of, body)
  return { head = HEAD:format(type_of, "Content-Length: " .. #body .. "\r\n"), body = body }
end

local function chunked(type_of, body)
  local pieces = {}
  for i = 1, #body, 40 do
    local piece = body:sub(i, i + 39)
    pieces[#pieces + 1] = ("%x\r\n%s\r\n"):format(#piece, piece)
  end
  return { head = HEAD:format(type_of, "Transfer-Encoding: chunked\r\n"),
    body = table.concat(pieces) .. "0\r\n\r\n" }
end

local function until_closed(type_of, body)
  return { head = HEAD:format(type_of, "Connection: close\r\n"), body = body }
end

local TEXT = event "ab" .. event "cd"
local ANSWER = '{"choices":[{"index":0,"message":{"role":"assistant","content":"abcd"},"finish_reason":"stop"}]}'

local function with(scenarios, fn)
  local server = raw.start(scenarios)
  local client = lmm.connect { base_url = server.url, model = "m", retry = false, timeout = 50 }
  local ok, err = xpcall(function() fn(client, server) end, debug.traceback)
  client:close()
  server:stop()
  if not ok then error(err, 0) end
end

local endings = { close = { close = true }, reset = { reset = true } }

-- What, the reply, and how it is asked for.
local rows = {
  { "a stream without an end", until_closed(EVENT_STREAM, TEXT), way = "stream" },
  { "a counted stream that is not complete", counted(EVENT_STREAM, TEXT .. event("", "stop")), way = "stream" },
  { "a chunked stream without its last chunk", chunked(EVENT_STREAM, TEXT .. event("", "stop")), way = "stream" },
  { "a counted answer", counted(JSON, ANSWER), way = "chat" },
  { "a chunked answer", chunked(JSON, ANSWER), way = "chat" },
  { "an answer whose end nothing but its JSON tells", until_closed(JSON, ANSWER), way = "chat" },
}

describe("a response that ends too soon", function()
  for _, row in ipairs(rows) do
    for ending, step in pairs(endings) do
      it(("%s: %s"):format(row[1], ending), function()
        local head, body = row[2].head, row[2].body
        local finish = body:find('"finish_reason"', 1, true) -- in one piece, where there is one
        if row.way == "stream" then assert.equal(row[1] ~= "a stream without an end", finish ~= nil) end
        local last = row.way == "stream" and (finish or #body + 1) - 1
          or body:find "0\r\n\r\n$" and #body - 5 or #body - 1
        local scenarios, cuts = {}, {}
        for cut = 1, last, ending == "reset" and 7 or 3 do
          cuts[#cuts + 1] = cut
          scenarios[#scenarios + 1] = { { await = "request" }, { send = head .. body:sub(1, cut) },
            { pause = ending == "reset" and 0.02 or 0 }, step }
        end
        with(scenarios, function(client)
          for _, cut in ipairs(cuts) do
            local pieces = {}
            local value, message, err
            if row.way == "chat" then
              value, message, err = client:chat { messages = messages }
            else
              local stream = client:stream { messages = messages }
              for piece in function() return (stream:next()) end do pieces[#pieces + 1] = piece end
              value, message, err = stream:next()
            end
            local where = ("cut at %d: %s"):format(cut, tostring(message))
            assert.refused("", value, message, err)
            assert.same({ table.concat(pieces), 1 }, { err.partial, err.attempts }, where)
            local expected = ""
            if row.way == "stream" then
              local sent = body:sub(1, cut):gsub("\r\n%x+\r\n", ""):gsub("^%x+\r\n", "")
              -- At the clean end of a reply the last event may lack its blank line.
              local event_end = row[1] == "a stream without an end" and "}}%]}" or "[^\n]*\n\n"
              for content in sent:gmatch('"content":"(%l+)"' .. event_end) do expected = expected .. content end
            end
            if ending == "reset" then -- it may take back what was not read yet, all of it
              assert.truthy(err.kind == "truncated" or err.kind == "connect", where)
              assert.equal(expected:sub(1, #err.partial), err.partial, where)
            else
              assert.same({ "truncated", "receive", expected }, { err.kind, err.phase, err.partial }, where)
              assert.matches("broke off", message)
            end
          end
        end)
      end)
    end
  end

  it("and whole they are none", function()
    local scenarios = {}
    for _, row in ipairs(rows) do
      local more = row[1]:find "without an end" and "data: [DONE]\n\n" or ""
      scenarios[#scenarios + 1] = { { await = "request" }, { send = row[2].head .. row[2].body .. more },
        { close = true } }
    end
    with(scenarios, function(client)
      for _, row in ipairs(rows) do
        local reply = row.way == "chat" and assert(client:chat { messages = messages })
          or assert(client:stream({ messages = messages }):reply())
        assert.equal("abcd", reply.text, row[1])
      end
    end)
  end)

  it("an error in an event under 200 stays one, whatever follows", function()
    local objects = { '{"error":{"message":"boom","code":500}}', '{"error":"boom"}',
      '{"object":"error","message":"boom"}', '{"detail":"boom"}' }
    local scenarios = {}
    for i, object in ipairs(objects) do
      local events = event "ab" .. "data: " .. object .. "\n\n" .. event("cd", "stop") .. "data: [DONE]\n\n"
      for _, reply in ipairs { (i % 2 == 0 and counted or chunked)(EVENT_STREAM, events), counted(JSON, object) } do
        scenarios[#scenarios + 1] = { { await = "request" }, { send = reply.head .. reply.body }, { close = true } }
      end
    end
    with(scenarios, function(client)
      for _, object in ipairs(objects) do
        local err = assert.refused("boom", client:stream({ messages = messages }):reply())
        assert.same({ "http", "ab" }, { err.kind, err.partial }, object)
        err = assert.refused("boom", client:chat { messages = messages })
        assert.same({ "http", "" }, { err.kind, err.partial }, object)
      end
    end)
  end)
end)
