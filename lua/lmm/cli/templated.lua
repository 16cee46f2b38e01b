--- `lmm ask -t NAME`: a template's name, what fills its holes, and the question come in; the question to ask goes out.
local configured = require "lmm.cli.configured"
local console = require "lmm.cli.console"
local sources = require "lmm.cli.sources"

local templated = {}

--- For argparse: "name=value", "name=@FILE".
---@return { name: string, value: string }?, string?
function templated.parse(word)
  local name, value = word:match "^([%a_][%w_-]*)=(.*)$"
  if not name then return nil, ("-D takes name=value, not '%s'"):format(word) end
  return { name = name, value = console.text(value, ("the value of -D %s"):format(name)) }
end

--- As an argument that stands for itself.
local function literal(text)
  return text and text:gsub("^@", "@@")
end

local function read_stdin(what)
  return console.chomp(sources.check_text(console.read(what)))
end

--- What fills the holes of a template; and what is left of the question, where no hole takes it.
local function values_for(holes, args)
  local values, asked = {}, args.question[1]
  for _, given in ipairs(args.define) do values[given.name] = given.value end
  if asked == "-" then
    if holes.stdin then console.misuse "{stdin} and the question cannot both come from standard input" end
    asked = read_stdin "the question"
  elseif asked then
    asked = console.text(asked, "the question")
  end
  if holes.question and asked and not values.question then values.question, asked = asked, nil end
  if holes.stdin and not values.stdin then
    for _, given in ipairs(args.media or {}) do
      if given.source == "-" then console.misuse "{stdin} and a picture cannot both come from standard input" end
    end
    values.stdin = read_stdin "what fills {stdin}"
  end
  return values, asked
end

--- Puts what a template says into the arguments of the command: its prompt is the question, its model and its system
--- message stand where -m and -s are not given, and its fields go before those of -p.
function templated.apply(args)
  local template = configured.template(args.template)
  local config = require "lmm.config"
  if #args.question > 1 then return end -- which is refused elsewhere
  local values, rest = values_for(config.holes(template), args)
  local filled, problem = config.fill(template, values)
  if not filled then
    console.misuse("the template '%s': %s%s", args.template, problem,
      problem:find "^nothing" and " (-D NAME=TEXT does)" or "")
  end
  args.question = { literal(rest and filled.prompt .. "\n\n" .. rest or filled.prompt) }
  args.system, args.model = args.system or literal(filled.system), args.model or template.model
  local param = {}
  for name, value in pairs(template.params or {}) do param[#param + 1] = { name = name, value = value } end
  for _, given in ipairs(args.param) do param[#param + 1] = given end
  args.param = param
end

return templated
