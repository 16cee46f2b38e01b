-- The client of a storm: plans come in, drawn from a seed; counts of what must not happen go out. It knows lmm's public
-- face alone, and nothing of the loop that it runs in.
local child = require "lmm.server.child"
local lmm = require "lmm"
local plans = require "spec.storm.plan"

local M = {}

local LATE = 10 -- seconds beyond its limit, or after a cancel, at which an exchange counts as one that hangs

--- What must all be 0.
local CATEGORIES = {
  { "content", "successes whose content differs" },
  { "broken", "errors where the exchange was whole" },
  { "other", "other outcomes than the contract's" },
  { "hang", "hangs" },
  { "raise", "raises" },
  { "server", "requests that must not be" },
  { "open", "connections left open" },
  { "descriptor", "descriptors leaked" },
  { "memory", "growth of memory" },
}

local Storm = {}
Storm.__index = Storm

-- On PUC 5.1 a task cannot wait inside a pcall or a `for` loop.
local resumable = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil
local protected = resumable and pcall or function(fn, ...) return true, fn(...) end

function Storm:violation(category, plan, format, ...)
  self.counts[category] = self.counts[category] + 1
  if self.counts[category] > 20 then return end
  local kinds = {}
  for i, attempt in ipairs(plan and plan.attempts or {}) do
    kinds[i] = ("%s/%s at %d of %d, %s"):format(attempt.kind, attempt.fault, attempt.count,
      attempt.frame and #attempt.frame.bytes or attempt.count, attempt.way)
  end
  local where = plan and ("exchange %d (SEED=%d ONLY=%d): "):format(plan.number, self.seed, plan.number) or ""
  local what = plan and ("; %s, read by %s%s, left by %s, limit %g s, attempts: %s"):format(
    plan.streamed and "streamed" or "whole", plan.reader, plan.talks and " in a conversation" or "",
    tostring(plan.leave), plan.limit, table.concat(kinds, " | ")) or ""
  self.out("VIOLATION " .. category .. ": " .. where .. format:format(...) .. what)
end

-- ---- one exchange ------------------------------------------------------------------------------------------------

--- Waits, in whatever loop this is, by asking the server to take its time.
function Storm:sleep(milliseconds)
  assert(self.control:request("GET", ("/storm/sleep?%d"):format(milliseconds)))
end

local POLICY = { attempts = 3, base = 0.005, cap = 0.02, max_wait = 2 }

--- The client of an exchange; one that is tried again tells the server by its key which attempt it is.
function Storm:client_of(plan, state)
  if not plan.retry and plan.leave ~= "client" and not plan.asks_model then return self.shared end
  local opts = { base_url = self.url .. "/v1", model = not plan.asks_model and "storm" or nil,
    retry = plan.retry and POLICY or false }
  local sent = plan.asks_model and -1 or 0
  function opts.api_key()
    sent = sent + 1
    state.sent = sent
    return tostring(sent)
  end
  return lmm.connect(opts)
end

local readers = {}

function readers.next(stream, state)
  local piece, message = stream:next()
  while piece do
    state.pieces[#state.pieces + 1] = piece
    if state.stop_after and #state.pieces >= state.stop_after then return end
    piece, message = stream:next()
  end
  if message then return nil, message, stream.err end
  return stream:reply()
end

readers["for"] = function(stream, state)
  if not resumable then return readers.next(stream, state) end
  local ok = pcall(function()
    for piece in stream do state.pieces[#state.pieces + 1] = piece end
  end)
  if not ok and not stream.err then error "the stream raised without an error" end
  return stream:reply()
end

function readers.events(stream, state)
  if not resumable then return readers.next(stream, state) end
  local ok = pcall(function()
    for event in stream:events() do state.events = (state.events or 0) + (event and 1 or 0) end
  end)
  if not ok and not stream.err then error "the stream raised without an error" end
  state.pieces = nil
  return stream:reply()
end

function readers.reply(stream, state)
  state.pieces = nil
  return stream:reply()
end

--- Asks as the plan says; gives what the call gave. `state` has the stream or conversation for whoever wants to leave.
local function ask(plan, client, state)
  local request = { storm = { seed = plan.seed, number = plan.number } }
  local timeout = plan.limit and { first = plan.limit, idle = plan.limit, total = plan.limit * 20 } or nil
  if #plan.meant.choices > 1 then request.n = #plan.meant.choices end
  if plan.talks then
    state.chat = client:conversation { timeout = timeout }
    if not plan.streamed then return state.chat:ask(plan.question, request) end
    state.stream = state.chat:stream(plan.question, request)
  else
    request.messages = { { role = "user", content = plan.question } }
    if not plan.streamed then return client:chat(request, { timeout = timeout }) end
    state.stream = client:stream(request, { timeout = timeout })
  end
  local stream = state.stream
  if state.weak then state.stream = nil end
  if state.stop_after == 0 then return end
  return readers[state.stop_after and "next" or plan.reader](stream, state)
end

--- The ways to leave an exchange before its end.
local leave = {}

local function in_task(self, plan, client, state, act)
  local task = lmm.go(function() return ask(plan, client, state) end)
  self:sleep(plan.leave_after)
  state.left_at = self.now()
  act(task)
  local ok, reply, message, err = task:wait()
  if not ok then error(reply, 0) end
  return reply, message, err
end

function leave.task(self, plan, client, state)
  return in_task(self, plan, client, state, function(task) task:cancel() end)
end

function leave.chat(self, plan, client, state)
  return in_task(self, plan, client, state, function() if state.chat then state.chat:cancel() end end)
end

function leave.client(self, plan, client, state)
  return in_task(self, plan, client, state, function() client:close() end)
end

function leave.elsewhere(self, plan, client, state)
  return in_task(self, plan, client, state, function() if state.stream then state.stream:cancel() end end)
end

function leave.stream(_, plan, client, state)
  state.stop_after = plan.leave_after
  local reply, message, err = ask(plan, client, state)
  if reply or message then return reply, message, err end
  state.stream:cancel()
  return state.stream:next()
end

function leave.drop(_, plan, client, state)
  state.stop_after, state.weak = plan.leave_after, true
  local reply, message, err = ask(plan, client, state)
  if reply or message then return reply, message, err end
  state.dropped = true
end

-- ---- what came of it ---------------------------------------------------------------------------------------------

local function same_calls(a, b)
  if not a or not b then return a == b end
  for i = 1, math.max(#a, #b) do
    local x, y = a[i] or {}, b[i] or {}
    if x.id ~= y.id or x.name ~= y.name or x.arguments ~= y.arguments then return false end
  end
  return true
end

--- What differs between a reply and what was meant, or nil.
---@param count integer?  how many choices are expected, where not all of them
local function difference(plan, reply, state, count)
  local meant = plan.meant
  count = count or #meant.choices
  if #reply.choices ~= count then return ("%d choices, not %d"):format(#reply.choices, count) end
  for i, got in ipairs(reply.choices) do
    local choice = meant.choices[i]
    for _, name in ipairs { "index", "text", "reasoning", "refusal", "finish_reason" } do
      if got[name] ~= choice[name] then
        return ("choice %d: %s is %q, not %q"):format(i - 1, name, tostring(got[name]), tostring(choice[name]))
      end
    end
    if not same_calls(got.tool_calls, choice.tool_calls) then return ("choice %d: other tool calls"):format(i - 1) end
  end
  if reply.text ~= meant.choices[1].text then return "another text" end
  if reply.id ~= meant.id or reply.model ~= meant.model then return "another id or model" end
  if reply.usage.total_tokens and reply.usage.total_tokens ~= meant.tokens then return "another usage" end
  if state.pieces and plan.streamed and table.concat(state.pieces) ~= reply.text then
    return "the pieces are not the text"
  end
end

local function list(outcomes)
  local names = {}
  for name in pairs(outcomes) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- Looks at an error: the partial text must be the beginning of what was meant, or just what had arrived.
function Storm:check_error(plan, state, message, err)
  if type(err) ~= "table" or err.message ~= message or type(err.kind) ~= "string" then
    return self:violation("other", plan, "no error object: %s", tostring(message))
  end
  local name = (err.kind == "http" and "http " .. tostring(err.status) or err.kind) .. "@" .. tostring(err.attempts)
  local expected = plan.outcomes
  local partial = err.partial
  local whole = plan.meant.choices[1].text
  if expected and partial and whole:sub(1, #partial) ~= partial then
    return self:violation("content", plan, "partial is %q of %q", partial, whole)
  end
  if expected and state.pieces and plan.streamed and partial and table.concat(state.pieces):sub(1, #partial) ~= partial
    and partial:sub(1, #table.concat(state.pieces)) ~= table.concat(state.pieces) then
    return self:violation("content", plan, "the pieces are not the partial text")
  end
  if plan.leave and err.kind == "cancelled" then return "cancelled" end
  if not expected then return err.kind end
  local outcome = expected[name]
  if not outcome then
    local only_ok = true
    for other in pairs(expected) do only_ok = only_ok and other:find "^ok@" ~= nil end
    return self:violation(only_ok and "broken" or "other", plan, "%s (%s) instead of %s", name, message, list(expected))
  end
  if plan.streamed and outcome.text and partial ~= outcome.text then
    return self:violation("content", plan, "partial is %q instead of %q", tostring(partial), outcome.text)
  end
  return err.kind
end

function Storm:check(plan, state, reply, message, err)
  if state.chat then
    local history = #state.chat.messages
    if history ~= (reply and 2 or 0) and not state.dropped then
      self:violation("other", plan, "the history has %d messages", history)
    end
  end
  if message ~= nil then return self:check_error(plan, state, message, err) end
  if not reply then
    return (state.dropped or plan.leave) and "left" or self:violation("other", plan, "neither a reply nor an error")
  end
  local expected = plan.outcomes
  if not expected then return "ok" end
  local name = "ok@" .. reply.attempts
  if not expected[name] then
    return self:violation("content", plan, "%s instead of %s", name, list(expected))
  end
  local different = difference(plan, reply, state, expected[name].choices)
  if different then return self:violation("content", plan, "%s", different) end
  return "ok"
end

--- Runs one exchange, and notes what came of it.
function Storm:exchange(number)
  local plan = plans.draw(self.seed, number, self.slowness)
  local state = { pieces = {} }
  local client = self:client_of(plan, state)
  local started = self.now()
  local function run()
    if plan.leave then return leave[plan.leave](self, plan, client, state) end
    return ask(plan, client, state)
  end
  local ok, reply, message, err
  if plan.inner_task then
    ok, reply, message, err = lmm.go(run):wait()
  else
    ok, reply, message, err = protected(run)
  end
  local ended = self.now()
  if not ok then return self:violation("raise", plan, "%s", tostring(reply)) end
  if ended - (state.left_at or started) > (state.left_at and 0 or plan.limit) + LATE then
    self:violation("hang", plan, "it took %.1f s", ended - started)
  end
  local outcome = self:check(plan, state, reply, message, err)
  local first = plan.attempts[1]
  for _, name in ipairs { "kind " .. first.kind, "fault " .. first.fault, "left by " .. (plan.leave or "nobody"),
    "outcome " .. (outcome or "VIOLATION"), plan.streamed and "streamed" or "whole", "cut in " .. first.way } do
    self.tally[name] = (self.tally[name] or 0) + 1
  end
end

-- ---- many ----------------------------------------------------------------------------------------------------------

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

--- The descriptors of this process; the one that counting takes is among them, each time. At once, the end of the pipe
--- that belongs to the shell might still be one of them.
local function count_descriptors(pid)
  local pipe = assert(io.popen("sleep 0.1; ls /proc/" .. pid .. "/fd | wc -l"))
  local count = tonumber(pipe:read "*a")
  pipe:close()
  return count
end

--- Puts everything away and looks what is left: { descriptors, heap, resident } in KiB.
function Storm:rest()
  for _ = 1, 3 do collectgarbage() end
  local report = assert(self.control:request("GET", "/storm/rest", nil, { timeout = 60 })).json
  for complaint in report.complaints:gmatch "[^\n]+" do
    self:violation(complaint:find "still open" and "open" or "server", nil, "SEED=%d: %s", self.seed, complaint)
  end
  self.requests, self.replays = self.requests + report.requests, self.replays + report.replays
  local pid = read_file "/proc/self/stat":match "^%d+"
  local descriptors
  for _ = 1, 6 do -- libcurl looks for dead connections once a second, when it wants one
    self:sleep(1100)
    self:sleep(0)
    descriptors = count_descriptors(pid)
    if not self.begun or descriptors <= self.begun.descriptors then break end
  end
  local jit = rawget(_G, "jit")
  if jit then jit.flush() end -- what was compiled is kept, up to a limit that a storm does not come near
  for _ = 1, 3 do collectgarbage() end
  return {
    descriptors = descriptors,
    heap = collectgarbage "count",
    resident = tonumber(read_file "/proc/self/status":match "VmRSS:%s*(%d+)"),
  }
end

function Storm:compare(first, last)
  if last.descriptors > self.begun.descriptors then
    self:violation("descriptor", nil, "SEED=%d: %d descriptors, %d at the beginning", self.seed, last.descriptors,
      self.begun.descriptors)
  end
  if first == last then return end
  if last.heap - first.heap > self.heap_growth then
    self:violation("memory", nil, "SEED=%d: Lua's heap grew from %.0f to %.0f KiB", self.seed, first.heap, last.heap)
  end
  if last.resident - first.resident > self.resident_growth then
    self:violation("memory", nil, "SEED=%d: the process grew from %d to %d KiB", self.seed, first.resident,
      last.resident)
  end
end

--- Runs the next thousand or fewer.
---@return boolean  whether there are more
function Storm:step()
  self.begun = self.begun or self:rest()
  local fns = {}
  for i = self.done + 1, math.min(#self.numbers, self.done + self.step_size) do
    fns[#fns + 1] = function() return self:exchange(self.numbers[i]) end
  end
  self.done = self.done + #fns
  local ok, problem = pcall(lmm.gather, fns, { limit = 16 })
  if not ok then self:violation("raise", nil, "SEED=%d: %s", self.seed, tostring(problem)) end
  fns = nil -- luacheck: ignore
  self.last = self:rest()
  -- In the first half the allocator still grows to what sixteen of the largest exchanges need at once.
  if not self.first and 2 * self.done >= #self.numbers then self.first = self.last end
  self.out(("%6d exchanges, %d descriptors, heap %.0f KiB, resident %d KiB"):format(self.done, self.last.descriptors,
    self.last.heap, self.last.resident))
  return self.done < #self.numbers
end

---@class lmm.storm.Options
---@field seed integer
---@field count integer?     exchanges 1 to `count`
---@field only integer[]?    these instead
---@field out fun(line: string)
---@field url string?        of a server that runs already, without a path
---@field slowness number?   multiplies the short time limits, for a client that is slowed down

--- Makes a storm; its server runs.
---@param opts lmm.storm.Options
function M.new(opts)
  local server = not opts.url and assert(child.start("spec.storm.server", {}))
  local self = setmetatable({ seed = opts.seed, out = opts.out, slowness = opts.slowness, tally = {}, counts = {},
    requests = 0, replays = 0, server = server, now = require("lmm.core").now, started = require("lmm.core").now(),
    numbers = opts.only or {}, done = 0, heap_growth = 256, resident_growth = 4096 }, Storm)
  self.url = opts.url or "http://" .. server.line:match "%S+$"
  for _, row in ipairs(CATEGORIES) do self.counts[row[1]] = 0 end
  self.control = lmm.connect { base_url = self.url, model = "storm", api_key = "", retry = false }
  self.shared = lmm.connect { base_url = self.url .. "/v1", model = "storm", api_key = "", retry = false }
  for i = 1, opts.only and 0 or opts.count do self.numbers[i] = i end
  self.step_size = math.max(100, math.min(1000, math.ceil(#self.numbers / 3)))
  return self
end

--- Ends a storm and tells what there was.
---@return table<string, integer> counts  what must be 0, by its name
function Storm:finish()
  local elapsed = self.now() - self.started
  self:compare(self.first, self.last)
  if self.server then self.server.stop() end
  local names = {}
  for name in pairs(self.tally) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do self.out(("  %-24s %6d"):format(name, self.tally[name])) end
  self.out(("seed %d: %d exchanges, %d requests, %d silent replays in %.1f s: %.0f exchanges/s"):format(self.seed,
    self.done, self.requests, self.replays, elapsed, self.done / elapsed))
  for _, row in ipairs(CATEGORIES) do self.out(("  %-40s %d"):format(row[2], self.counts[row[1]])) end
  return self.counts
end

--- Runs a storm whole.
---@param opts lmm.storm.Options
---@return table<string, integer> counts  what must be 0, by its name
function M.run(opts)
  local self = M.new(opts)
  while self:step() do end
  return self:finish()
end

return M
