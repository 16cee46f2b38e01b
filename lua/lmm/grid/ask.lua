--- Asks what is not answered yet: a plan with its answers comes in; requests go out, through lmm.bulk. Each server has
--- a run of its own, with a concurrency that finds itself: one that is gone, or refuses the key, ends that run alone.
local answers = require "lmm.grid.answers"
local bulk = require "lmm.bulk"
local errors = require "lmm.errors"
local loops = require "lmm.loop"

local ask = {}

local SERVER_TIMEOUT = 10 -- seconds: somebody waits for the page

---@class lmm.GridProgress
---@field total integer   cells to be asked
---@field done integer    that went well
---@field failed integer
---@field running integer
---@field seconds number
---@field waits_for string?

---@class lmm.GridAskOptions
---@field concurrency integer?  cells at a time, of each server
---@field retry_errors boolean?  asks again what failed
---@field timeout number?        seconds for one answer
---@field server_timeout number?
---@field on_progress (fun(progress: lmm.GridProgress): boolean?)?  where it gives false no more is asked

local function client_stream(client, request, timeout)
  return client:stream(request, { retry = bulk.retry, timeout = timeout })
end

--- What a cell is cut off by whose client was closed, as by Ctrl-C twice. It has not failed: it is asked the next time.
local CUT_OFF = errors.new { kind = "cancelled", message = "the grid was stopped", ends_run = true }

--- What has become of the cells.
local function new_count()
  return { done = 0, failed = 0, logged = 0, asked = {} } -- asked: by their numbers, since one may be asked again
end

--- Asks one cell.
local function asker(plan, opts, find, count)
  return function(item)
    local cell = plan:cell(item.number)
    local client = cell.model.client
    if client.closed then return nil, CUT_OFF.message, CUT_OFF end
    local request, problem = plan:request(cell)
    if not request then return nil, problem end
    local found = find and find(cell, request)
    if found then
      count.done, count.logged = count.done + 1, count.logged + 1
      return found
    end
    local timeout = opts.timeout or plan.definition.timeout
    local stream, message = errors.try(client_stream, client, request, timeout) -- nothing waits within it
    local reply, err
    if stream then -- else what the library refuses in this request is this cell's error
      local was_asked = count.asked[item.number]
      count.asked[item.number] = true -- also where it is cut off
      reply, message, err = stream:reply()
      if err and err.kind == "connect" then count.asked[item.number] = was_asked end -- nobody heard it
    end
    if not reply then
      if client.closed then return nil, CUT_OFF.message, CUT_OFF end
      count.failed = count.failed + (err and err.kind == "connect" and 0 or 1)
      return nil, message, err
    end
    count.done = count.done + 1
    return answers.of(reply)
  end
end

--- The cells to be asked, by server.
---@return { client: lmm.Client, output: string, fresh: table[], failed: table[] }[]
local function runs_of(plan, found, retries)
  local runs, by_output = {}, {}
  for number = 1, plan.count do
    local state = found:state(number)
    local is_wanted = found.first[number] == number and (not state or retries and state == "failed")
    if is_wanted then
      local client = plan:cell(number).model.client
      local output = found.folder:answers(client)
      local run = by_output[output]
      if not run then
        run = { client = client, output = output, fresh = {}, failed = {} }
        runs[#runs + 1], by_output[output] = run, run
      end
      local list = state and run.failed or run.fresh
      list[#list + 1] = { custom_id = found.keys[number], number = number }
    end
  end
  return runs
end

--- Adds the states of all runs up, and says how far it is.
local function new_reporter(total, count, opts)
  local loop = loops.current()
  local begun, states = loop:now(), {}
  return function(run)
    return function(state)
      states[run] = state
      local running, waits_for = 0, nil
      for _, each in pairs(states) do
        running, waits_for = running + each.running, waits_for or each.waits_for
      end
      local go_on = opts.on_progress and opts.on_progress { total = total, done = count.done, failed = count.failed,
        running = running, seconds = loop:now() - begun, waits_for = waits_for }
      return go_on
    end
  end
end

--- Asks everything that is not answered.
---@param plan lmm.GridPlan
---@param found lmm.GridAnswers  located
---@param opts lmm.GridAskOptions
---@param find (fun(cell: lmm.GridCell, request: table): table?)?  an answer that the log has
---@return { asked: integer, logged: integer, ended: table<string, lmm.Error> }  ended: by their files, why runs ended
--- early
function ask.all(plan, found, opts, find)
  local runs, count, ended = runs_of(plan, found, opts.retry_errors), new_count(), {}
  local total = 0
  for _, run in ipairs(runs) do total = total + #run.fresh + #run.failed end
  local fn, report, tasks = asker(plan, opts, find, count), new_reporter(total, count, opts), {}
  for i, run in ipairs(runs) do
    tasks[i] = function()
      for _, what in ipairs { "failed", "fresh" } do
        if #run[what] > 0 and not ended[run.output] then
          local _, _, err = bulk.map(run[what], fn, { client = run.client, output = run.output,
            concurrency = opts.concurrency, force = true, -- its rows are known by their ids
            retry_errors = what == "failed" or nil, on_progress = report(run),
            server_timeout = opts.server_timeout or SERVER_TIMEOUT })
          ended[run.output] = err
        end
      end
    end
  end
  loops.gather(tasks)
  local asked = 0
  for _ in pairs(count.asked) do asked = asked + 1 end
  return { asked = asked, logged = count.logged, ended = ended }
end

return ask
