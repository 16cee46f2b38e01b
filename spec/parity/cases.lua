-- What a client does, whatever moves its bytes and whoever runs its tasks. A case has:
--
--   name, replies     what the server answers, one after the other, as spec/support/fake has it
--   keeps             the connection is kept for all replies; otherwise each closes its own
--   opts              of the client; it does not retry unless they say so
--   servers(url)      the `base_url` of a client of several, of which `url` is one
--   run(client)       is called in a task: plain 5.1, so that it waits neither in a pcall nor in a `for`
--   seen(server)      what a real server has seen of it by its end (spec/support/raw)
local assert = require "luassert"
local check = require "spec.exchange.check"
local exchanges = require "spec.exchange.rows"
local lmm = require "lmm"
local replies = require "spec.support.replies"

local unpack = table.unpack or unpack -- luacheck: ignore

local request = { messages = { { role = "user", content = "q" } } }

local function case(name, answers, more)
  more.name, more.replies = name, answers
  return more
end

--- `nil, message, err` of this kind; gives err.
local function failed(kind, value, message, err)
  if value ~= nil then error("succeeded with " .. tostring(value), 2) end
  assert.equal(kind, type(err) == "table" and err.kind, tostring(message))
  assert.equal(message, err.message)
  return err
end

local function all_pieces(stream)
  local pieces = {}
  local piece, message, err = stream:next()
  while piece do
    pieces[#pieces + 1] = piece
    piece, message, err = stream:next()
  end
  return table.concat(pieces), message, err
end

--- The server and one that is not there.
local function with_a_dead_one(url)
  return { "http://127.0.0.1:1/v1", { url = url, models = { "m" } } }
end

local function closes(server)
  assert.truthy(server:wait "closed")
end

local policy = { base = 0.01, attempts = 3 }
local busy = { status = 503, headers = { ["retry-after-ms"] = "5" }, body = "busy" }
local refusal = { status = 400, headers = { ["content-type"] = "application/json" },
  json = { error = { message = "Wrong number.", type = "BadRequestError", code = 400 } } }
local to_the_end = replies.whole "to the end"
to_the_end.is_open = true
local endless = { status = 400, chunks = { "Wrong. " .. ("xyz "):rep(2 ^ 19), { pause = 60 } } }
local partial = replies.streamed { replies.delta "one", replies.delta "two" }

local broken = replies.streamed { replies.delta "one", { pause = 0.05 }, { fail = { kind = "truncated" } } }
local late = replies.whole "late"
late.delay = 0.5
local fault = replies.event { error = { message = "It broke.", code = 500 } }
local faulty = replies.streamed { replies.delta "one", fault, replies.event "[DONE]" }
local rows = replies.answer('{"rows": [1, {"a', '": "b"}', "]}")
local silent = replies.streamed { replies.delta "one", { pause = 60 } }
local models = { json = { data = { { id = "m1" }, { id = "m2" } } } }
local redirect = { status = 302, headers = { location = "http://other/" }, body = "" }
local function embedded(vector)
  return { json = { data = { { index = 0, embedding = vector } }, usage = { prompt_tokens = 4, total_tokens = 4 } } }
end
local vectors, packed = embedded { 0.5, 3 }, embedded "AACAPwAAIMA="
local function continuing(text, reason) return { index = 0, text = text, finish_reason = reason } end
local completion = { json = { id = "cmpl-1", choices = { continuing("one two", "length") } } }
local continued = replies.streamed { replies.event { choices = { continuing "one " } },
  replies.event { choices = { continuing("two", "length") } }, replies.event "[DONE]" }
local trickle = replies.streamed {}
for i = 1, 400 do trickle.chunks[i] = i % 2 == 1 and replies.delta "a" or { pause = 0.05 } end

--- Every row of spec/exchange, asked for both ways.
local function exchange(method)
  local sent = {}
  for i, row in ipairs(exchanges) do sent[i] = row[2] end
  return case("answers and refusals as they really come, by " .. method, sent, { run = function(client)
    for _, row in ipairs(exchanges) do
      local problem = check(client, row, method)
      if problem then error(row[1] .. ": " .. problem, 0) end
    end
  end })
end

local cases = {
  exchange "chat",
  exchange "stream",

  case("an ask gives the reply", { replies.whole "Hello \226\130\172" }, { run = function(client)
    local reply = assert(client:chat(request))
    assert.same({ "Hello \226\130\172", "stop", 1 }, { reply.text, reply.finish_reason, reply.attempts })
    assert.equal("7", tostring(reply.usage.total_tokens))
  end }),

  case("a stream gives the pieces, and then the reply", { replies.answer("one ", "two\n", "three") }, {
    run = function(client)
      local stream = client:stream(request)
      assert.equal("one ", stream:next())
      assert.equal("two\nthree", all_pieces(stream))
      local reply = assert(stream:reply())
      assert.same({ "one two\nthree", "stop" }, { reply.text, reply.finish_reason })
    end,
  }),

  case("a reply that ends with its connection", { to_the_end }, { run = function(client)
    assert.equal("to the end", assert(client:chat(request)).text)
  end }),

  case("a conversation sends what was said before", { replies.whole "first", replies.answer("sec", "ond") }, {
    keeps = true,
    run = function(client)
      local chat = client:conversation { system = "S" }
      assert.equal("first", assert(chat:ask "1").text)
      assert.equal("second", all_pieces(chat:stream "2"))
      assert.equal(5, #chat.messages)
    end,
    seen = function(server)
      assert.equal(1, #server:wait "accepted")
      assert.matches('"first"', server:received(1))
    end,
  }),

  case("a conversation is saved, and goes on where it is loaded", { replies.whole "first", replies.whole "second" }, {
    opts = { dialect = "generic" },
    run = function(client)
      local path = os.tmpname()
      local chat = client:conversation { system = "S" }
      assert(chat:ask("1", lmm.image "examples/picture.jpg"))
      assert(chat:save(path))
      local other, message = client:load(path)
      os.remove(path)
      assert(other, message)
      assert.equal("second", assert(other:ask "2").text)
      assert.equal(5, #other.messages)
    end,
    seen = function(server)
      server:wait("request", 2)
      local question = '"messages":%[{"content":"S","role":"system"},({"content":.-,"role":"user"})'
      local first = server:received(1):match(question)
      assert.truthy(first and #first > 100000 and first == server:received(2):match(question))
    end,
  }),

  case("a picture arrives whole", { replies.whole "seen" }, {
    opts = { dialect = "generic" },
    run = function(client)
      assert(client:conversation():ask("What?", lmm.image "examples/picture.jpg"))
    end,
    seen = function(server)
      local file = assert(io.open("examples/picture.jpg", "rb"))
      local text = require("lmm.core").base64.encode(file:read "*a")
      file:close()
      assert.truthy(server:received(1):gsub("\\/", "/"):find('"data:image/jpeg;base64,' .. text .. '"', 1, true))
    end,
  }),

  case("a picture is prepared while others go on", { replies.whole "seen" }, {
    opts = { dialect = "generic" },
    run = function(client)
      local part = lmm.image("examples/picture.jpg", { max_side = 20, convert = "png" })
      local size = math.max(part.width, part.height)
      local loop, is_over, count = require "lmm.loop".current(), false, 0
      assert(lmm.gather {
        function()
          local reply = assert(client:conversation():ask("What?", part))
          is_over = true
          return reply
        end,
        function()
          while not is_over do
            loop:wait({}, loop:now() + 0.001)
            count = count + 1
          end
          return true
        end,
      })
      assert.same({ 20, "image/png", "image/jpeg" }, { size, part.media:info().mime, part.converted })
      assert.truthy(count > 0)
      local _, message = client:conversation():ask("What?", lmm.image("spec/media/picture.bmp", { max_side = 20 }))
      assert.matches("^'spec/media/picture.bmp' is image/bmp, which libvips reads by ImageMagick only", message)
    end,
    seen = function(server)
      assert.truthy(server:received(1):gsub("\\/", "/"):find('"data:image/png;base64,', 1, true))
    end,
  }),

  case("a gather gives results by index", { replies.whole "same" }, { run = function(client)
    local function ask() return client:chat(request) end
    local results, errors = lmm.gather({ ask, ask, ask, function() return nil, "none" end }, { limit = 2 })
    assert.same({ "same", "same", "same", "none" }, { results[1].text, results[2].text, results[3].text, errors[4] })
  end }),

  case("a map keeps what each row gave, and goes on from there", { replies.whole "same" }, { run = function(client)
    local output, count = os.tmpname() .. ".jsonl", 0
    local function ask(item)
      count = count + 1
      if item == 2 then return nil, "none" end
      return client:chat(request)
    end
    for _ = 1, 2 do
      local summary = assert(lmm.map({ 1, 2, 3, 4 }, ask, { client = client, output = output, concurrency = 2 }))
      assert.same({ 3, 1, 4 }, { summary.done, summary.failed, count })
    end
    local results = assert(lmm.map({ "a", "b" }, ask, { client = client })).results
    assert.same({ "same", "same" }, { results[1].text, results[2].text })
    for _, ending in ipairs { "", ".jsonl", ".errors.jsonl", ".run" } do
      os.remove((output:gsub("%.jsonl$", ending)))
    end
  end }),

  case("a passing refusal is asked again", { busy, replies.whole "now" }, {
    opts = { retry = policy },
    run = function(client)
      local reply = assert(client:chat(request))
      assert.same({ "now", 2 }, { reply.text, reply.attempts })
    end,
    seen = function(server)
      local seen = server:wait("request", 2)
      assert.equal(seen[2].sha256, seen[1].sha256)
    end,
  }),

  case("attempts are counted", { busy }, {
    opts = { retry = policy },
    run = function(client)
      local err = failed("http", client:chat(request))
      assert.same({ 503, 3 }, { err.status, err.attempts })
    end,
    seen = function(server) assert.equal(3, #server:wait("request", 3)) end,
  }),

  case("a refusal is not asked again, and is told", { refusal }, {
    opts = { retry = policy },
    run = function(client)
      local err = failed("http", client:chat(request))
      assert.same({ 400, 1 }, { err.status, err.attempts })
      assert.matches("Wrong number", err.message)
    end,
    seen = function(server) assert.equal(1, #server:seen "request") end,
  }),

  case("a kept connection that died is replaced, and that is not counted", { replies.whole "a", replies.whole "b" }, {
    opts = { retry = policy },
    dies_before = 2,
    run = function(client)
      assert(client:chat(request))
      local reply = assert(client:chat(request))
      assert.same({ "b", 1 }, { reply.text, reply.attempts })
    end,
    seen = function(server) assert.equal(2, #server:seen "accepted") end,
  }),

  case("values that grow, and items one by one", { rows, rows, replies.streamed { replies.delta "[1,", fault } }, {
    run = function(client)
      local values, last = client:stream(request, { schema = { type = "object" } }):values(), nil
      local value = values()
      while value do
        last, value = value, values()
      end
      assert.same({ rows = { 1, { a = "b" } } }, last)
      local items = client:stream(request):elements "rows"
      assert.same({ 1, { a = "b" } }, { items(), items() })
      assert.equal(nil, items())
      local stream = client:stream(request)
      assert.same({ 1 }, stream:values()())
      assert.equal(500, failed("http", stream:reply()).status)
    end,
  }),

  case("what the answer is to be", { replies.whole '"yes"', replies.whole "maybe" }, { run = function(client)
    assert.equal("yes", assert(client:chat(request, { choice = { "yes", "no" } })).value)
    assert.equal("maybe", failed("protocol", client:chat(request, { choice = { "yes", "no" } })).partial)
  end, seen = function(server) assert.matches('"enum":%["yes","no"%]', server:received(1)) end }),

  case("an error within a stream", { faulty }, { run = function(client)
    local text, message, err = all_pieces(client:stream(request))
    assert.equal("one", text)
    assert.equal(500, failed("http", nil, message, err).status)
  end }),

  case("a stream that ends too early", { partial }, { run = function(client)
    local text, message, err = all_pieces(client:stream(request))
    assert.same({ "onetwo", "onetwo" }, { text, failed("truncated", nil, message, err).partial })
  end }),

  case("a stream that is reset", { broken }, { run = function(client)
    local text, message, err = all_pieces(client:stream(request))
    assert.same({ "one", "one" }, { text, failed("truncated", nil, message, err).partial })
  end }),

  case("an answer that comes later than the limit for connecting", { late }, {
    opts = { timeout = { connect = 0.2, first = 30 } },
    run = function(client) assert.equal("late", assert(client:chat(request)).text) end,
  }),

  case("no answer within the time limit", { { hang = true } }, {
    opts = { timeout = { first = 0.15 } },
    run = function(client)
      local err = failed("timeout", client:chat(request))
      assert.same({ "wait", "first" }, { err.phase, err.limit })
    end,
    seen = closes,
  }),

  case("a stream that falls silent", { silent }, {
    run = function(client)
      local given = { timeout = { idle = 0.15 } }
      local text, message, err = all_pieces(client:stream(request, given))
      err = failed("timeout", nil, message, err)
      assert.same({ "one", "receive", "idle", "one" }, { text, err.phase, err.limit, err.partial })
    end,
    seen = closes,
  }),

  case("a limit on the whole call, however busy the stream", { trickle }, {
    run = function(client)
      local _, message, err = all_pieces(client:stream({ messages = request.messages }, { timeout = 0.25 }))
      assert.equal("total", failed("timeout", nil, message, err).limit)
    end,
    seen = closes,
  }),

  case("a stream is cancelled", { silent }, {
    run = function(client)
      local stream = client:stream(request)
      assert.equal("one", stream:next())
      stream:cancel()
      failed("cancelled", stream:next())
    end,
    seen = closes,
  }),

  case("a task is cancelled while it waits for the answer", { { hang = true } }, {
    run = function(client)
      local task = lmm.go(function() return client:chat(request) end)
      lmm.go(function() task:cancel() end)
      local ok, value, message, err = task:wait()
      assert.equal(true, ok)
      failed("cancelled", value, message, err)
    end,
  }),

  case("a conversation is cancelled from elsewhere, and is as before", { silent }, {
    run = function(client)
      local chat = client:conversation()
      local result
      local task = lmm.go(function()
        local stream = chat:stream "q"
        stream:next()
        lmm.go(function() chat:cancel() end)
        result = { stream:next() }
      end)
      assert.same({ true }, { task:wait() })
      failed("cancelled", result[1], result[2], result[3])
      assert.equal(0, #chat.messages)
    end,
    seen = closes,
  }),

  case("a client is closed in mid-stream", { silent }, {
    run = function(client)
      local stream = client:stream(request)
      stream:next()
      client:close()
      failed("cancelled", stream:next())
    end,
    seen = closes,
  }),

  case("a head that is too long", { { headers = { ["x-long"] = ("x"):rep(2000) }, body = "{}" } }, {
    opts = { limits = { header = 1000 } },
    has_no_fake = true, -- the transport counts
    run = function(client) failed("limit", client:chat(request)) end,
  }),

  case("a reply that is too long", { replies.whole(("x"):rep(5000)) }, {
    opts = { limits = { reply = 1000 } },
    run = function(client) failed("limit", client:chat(request)) end,
  }),

  case("a refusal that goes on and on is told by its beginning", { endless }, {
    opts = { timeout = { idle = 30 } },
    run = function(client) assert.matches("Wrong%. xyz xyz", failed("http", client:chat(request)).message) end,
    seen = closes,
  }),

  case("a redirect is an error that names its target", { redirect }, { run = function(client)
    assert.matches("http://other/", failed("http", client:chat(request)).message)
  end }),

  case("an encoded reply is refused", { { headers = { ["content-encoding"] = "gzip" }, body = "\31\139" } },
    { run = function(client) failed("protocol", client:chat(request)) end }),

  case("nobody listens", {}, {
    has_no_fake = true,
    opts = { base_url = "http://127.0.0.1:1/v1" },
    run = function(client) assert.equal("connect", failed("connect", client:chat(request)).phase) end,
  }),

  case("a form arrives whole, the second time, too", { busy, { json = {} } }, {
    opts = { retry = policy },
    run = function(client)
      local form = lmm.form { file = lmm.file "spec/media/sound.wav", model = "m" }
      assert.equal(200, assert(client:request("POST", "audio/transcriptions", form)).status)
    end,
    seen = function(server)
      local file = assert(io.open("spec/media/sound.wav", "rb"))
      local bytes = file:read "*a"
      file:close()
      local first, second = unpack(server:wait("request", 2))
      assert.same({ first.bytes, first.sha256 }, { second.bytes, second.sha256 })
      local text = server:received(2)
      assert.matches("\r\n[Cc]ontent%-[Tt]ype: multipart/form%-data; boundary=lmm%-%x+\r\n", text)
      assert.truthy(text:find("Content-Type: audio/wav\r\n\r\n" .. bytes .. "\r\n--lmm-", 1, true))
    end,
  }),

  case("the events of any endpoint", { busy, replies.streamed { "event: a\ndata: [1]\n\n", "data: {}\n\n" } }, {
    opts = { retry = policy },
    run = function(client)
      local events = client:events("POST", "responses", { input = "q" })
      local seen = {}
      local event, name, err = events:next()
      while event do
        seen[#seen + 1] = name .. #event
        event, name, err = events:next()
      end
      assert.same({ "a1", "0", nil }, { seen[1], seen[2], err })
    end,
    seen = function(server) assert.matches('{"input":"q","stream":true}', server:received(2)) end,
  }),

  case("events end at once when they are cancelled", { replies.streamed { "data: {}\n\n", { pause = 60 } } }, {
    run = function(client)
      local events = client:events("POST", "responses", {})
      assert(events:next())
      events:cancel()
      assert.equal("cancelled", events.err.kind)
    end,
    seen = closes,
  }),

  case("vectors of texts and of a picture, as numbers and as bytes", { busy, vectors, packed }, {
    opts = { retry = policy, prices = { m = { input = 1 } } },
    run = function(client)
      local reply = assert(client:embed({ "a", lmm.image "examples/picture.jpg" }, { encoding_format = "base64" }))
      assert.same({ { 1, -2.5 }, { 0.5, 3 } }, reply.vectors)
      assert.same({ 8, 3, 8e-6 }, { reply.usage.total_tokens, reply.attempts, reply.cost })
      assert.same({ 3, 8 }, { client.usage.requests, client.usage.total_tokens })
    end,
    seen = function(server)
      assert.matches('"image_url":{"url":"data:image/jpeg;base64,', (server:received(2):gsub("\\/", "/")))
      assert.matches('{"encoding_format":"base64","input":"a","model":"m"}$', server:received(3))
    end,
  }),

  case("a completion, whole and streamed", { completion, continued }, {
    keeps = true,
    run = function(client)
      assert.equal("one two", assert(client:complete("q", { max_tokens = 2 })).text)
      local stream = client:stream_completion "q"
      assert.equal("one two", all_pieces(stream))
      assert.equal("length", assert(stream:reply()).finish_reason)
    end,
    seen = function(server)
      assert.matches('{"max_tokens":2,"model":"m","prompt":"q","stream":false}', server:received(1))
    end,
  }),

  case("tokens there and back, and what is said in a sound", { { json = { count = 1, tokens = { 5 } } },
    { json = { prompt = "a" } }, { json = { text = "Hi." } } }, { run = function(client)
    local tokens = assert(client:tokenize "a").tokens
    assert.equal("a", assert(client:detokenize(tokens)))
    assert.equal("Hi.", tostring(assert(client:transcribe "spec/media/sound.wav")))
  end }),

  case("the models, and whether it is well", { models, { body = "" } }, {
    run = function(client)
      assert.equal("m2", assert(client:models())[2].id)
      assert.equal(true, client:health())
    end,
  }),

  case("waiting for a server that loads", { { status = 503, body = "" }, { body = "" }, models }, {
    run = function(client) assert(client:wait_ready { timeout = 30 }) end,
    seen = function(server) assert.equal(3, #server:wait("head", 3)) end,
  }),

  case("a pool passes over a server that is dead", { models, replies.whole "one", replies.answer("tw", "o") }, {
    has_no_fake = true,
    servers = with_a_dead_one,
    run = function(client)
      assert.equal("m1", assert(client:models())[1].id)
      local chat = client:conversation()
      assert.equal("one", assert(chat:ask "1").text)
      assert.equal("two", all_pieces(chat:stream "2"))
      local states = client:servers()
      assert.same({ false, 1, true, 0 }, { states[1].alive, states[1].failures, states[2].alive, states[2].running })
    end,
  }),

  case("a pool of dead servers names each", {}, {
    has_no_fake = true,
    servers = function() return { "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1" } end,
    run = function(client)
      local err = failed("connect", client:chat(request))
      assert.matches("^no server answers: .*:1/v1.*; .*:2/v1", err.message)
    end,
  }),

  case("a pool whose server is there later is waited for", { { status = 503, body = "" }, { body = "" }, models }, {
    has_no_fake = true,
    servers = with_a_dead_one,
    run = function(client)
      assert(client:wait_ready { any = true, timeout = 30 })
      failed("timeout", client:wait_ready { timeout = 0.01 })
    end,
  }),
}
for _, row in ipairs(require "spec.parity.tools") do cases[#cases + 1] = row end
return cases
