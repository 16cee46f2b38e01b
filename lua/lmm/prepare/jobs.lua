--- Programs that work on what a part is made from, a few at a time: a plan and a script of the shell come in; a job, as
--- lmm.prepare takes it, goes out.
local failures = require "lmm.prepare.failures"
local programs = require "lmm.prepare.programs"
local texts = require "lmm.text"
local version = require "lmm.version"

local jobs = {}

--- Writes bytes into a temporary file.
---@return string? name, string? message
local function write_temporary(bytes)
  local name, message = version.check("lmm.files").temporary()
  if not name then return nil, message end
  local file, ok
  file, message = io.open(name, "wb")
  if file then
    ok, message = file:write(bytes)
    local closed, why = file:close()
    ok, message = ok and closed, message or why
  end
  if ok then return name end
  os.remove(name)
  return nil, message
end

--- Starts a script that reads the source at "$source". Bytes are moved into the program's folder, with which they go.
local function start(plan, script)
  local path, name = plan.source.path, nil
  local source = path and path:find "^/" and "source=" .. texts.quote(path)
    or path and 'source="$from/"' .. texts.quote(path)
  local job, message
  if not path then
    name, message = write_temporary(plan.source.bytes)
    source = name and ("mv %s source && source=source"):format(texts.quote(name))
  end
  if source then job, message = programs.start(source .. "\n" .. script) end
  if job then return job end
  if name then os.remove(name) end
  return nil, failures.invalid("%s cannot be prepared: %s", plan.name, message)
end

local Job = {}
Job.__index = Job

local queue, first, last = setmetatable({}, { __mode = "v" }), 1, 0 -- what nobody has any more goes out of it

--- Starts what waits, as far as there is room; whoever asks for his own job has the next one begin.
local function start_next()
  while first <= last and programs.has_room() do
    local job = queue[first]
    queue[first], first = nil, first + 1
    if job then job.job, job.err = start(job.plan, job.script) end
  end
end

function Job:result()
  start_next()
  if self.err then return nil, self.err end
  if not self.job then return false end
  local status = self.job:status()
  if not status then return false end
  local result, err
  if status == 0 then
    result, err = self.collect(self.job)
  else
    err = failures.of_program(self.program, self.plan, status, self.job:take("err", 4096) or "",
      { seconds = programs.LIMIT, memory = programs.MEMORY, most = programs.MOST, is_late = self.job:is_late() })
  end
  self.job:close()
  return result, err
end

--- Has a program read a plan's source, as soon as there is room for it.
---@param program string  as lmm.prepare.failures knows it
---@param plan lmm.Plan
---@param script string   finds the source at "$source"; 127 is its status where the program is missing
---@param collect fun(job: table): table?, lmm.Error?  takes what the script has made, once its status is 0
function jobs.new(program, plan, script, collect)
  local job = setmetatable({ program = program, plan = plan, script = script, collect = collect }, Job)
  last = last + 1
  queue[last] = job
  start_next()
  return job
end

return jobs
