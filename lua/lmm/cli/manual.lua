--- `lmm manual`: the commands and options come in; a manual page in the language of man(7) goes out.
local console = require "lmm.cli.console"
local outline = require "lmm.cli.outline"

local manual = {}

function manual.declare(parser)
  local command = parser:command("manual", "Print the manual page of lmm or of one of its commands, in the language of"
    .. " man(7). `make install` installs all of them, so that `man lmm` and `man lmm-ask` find them.", [[
Examples:
   lmm manual ask | man -l -]]):summary "Print a manual page."
  command:usage "Usage: lmm manual [--into PATH | COMMAND]"
  command:argument("of", "The command; the page of lmm itself unless given."):args "?".names_command = true
  command:option("--into", "Write all pages into this folder, as lmm.1, lmm-ask.1 ..."):argname "PATH"
end

--- A text of one line as roff has it.
local function escaped(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("\226\128\148", "\\(em")
  return (text:gsub("^[.']", "\\&%0"))
end

--- A text that is filled, in lines that are short enough for who reads the page's source.
local function filled(text)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if #line + #word > 74 and line ~= "" then
      lines[#lines + 1], line = escaped(line), ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = escaped(line)
  return table.concat(lines, "\n")
end

--- Lines that stay as they are.
local function add_block(out, lines)
  while lines[#lines] == "" do lines[#lines] = nil end
  if #lines == 0 then return end
  out[#out + 1] = (out[#out]:find "^%.SH" and "" or ".PP\n") .. ".RS 4\n.nf"
  for _, line in ipairs(lines) do out[#out + 1] = escaped(line) end
  out[#out + 1] = ".fi\n.RE"
end

--- What stands behind the options: lines that begin with a blank stay as they are, a line alone that ends in a colon is
--- a heading, and the others are filled.
local function add_epilog(out, epilog)
  local block, paragraph = {}, {}
  local function flush()
    if #paragraph > 0 then
      if not out[#out]:find "^%.SH" then out[#out + 1] = ".PP" end
      out[#out + 1] = filled(table.concat(paragraph, " "))
    end
    add_block(out, block)
    block, paragraph = {}, {}
  end
  for line in (epilog .. "\n"):gmatch "(.-)\n" do
    local heading = line:match "^(%u[%l ]+):$"
    if line:find "^%s+%S" then
      if #paragraph > 0 then flush() end
      block[#block + 1] = line:gsub("^   ", "", 1)
    elseif line == "" and #block > 0 then
      block[#block + 1] = ""
    else
      if line == "" or heading or #block > 0 then flush() end
      if heading then out[#out + 1] = ".SH " .. heading:upper() end
      if line ~= "" and not heading then paragraph[#paragraph + 1] = line end
    end
  end
  flush()
end

local function add_options(out, options)
  for _, option in ipairs(options) do
    local names = {}
    for i, name in ipairs(option.names) do names[i] = "\\fB" .. escaped(name) .. "\\fR" end
    local value = option.value and " \\fI" .. escaped(option.value) .. "\\fR" or ""
    out[#out + 1] = ".TP\n" .. table.concat(names, ", ") .. value
    out[#out + 1] = filled(option.text)
  end
end

--- The day that stands on the page: that of the build, or what $SOURCE_DATE_EPOCH says.
local function date()
  return os.date("!%Y-%m-%d", tonumber(os.getenv "SOURCE_DATE_EPOCH"))
end

--- A page.
---@param of lmm.cli.Outline
---@param root lmm.cli.Outline
local function page(of, root)
  local title = of.name:gsub(" ", "-")
  local out = { (".TH %s 1 %s \"lmm %s\""):format(escaped(title:upper()), date(), require "lmm.version".number),
    ".SH NAME", escaped(title) .. " \\- " .. escaped(of.summary:gsub("%.$", "")), ".SH SYNOPSIS", ".nf" }
  for line in of.usage:gmatch "[^\n]+" do out[#out + 1] = escaped((line:gsub("^%s+", ""))) end
  out[#out + 1] = ".fi\n.SH DESCRIPTION"
  out[#out + 1] = filled(of.description)
  for _, argument in ipairs(of.arguments) do
    out[#out + 1] = ".TP\n\\fI" .. escaped(argument.name) .. "\\fR\n" .. filled(argument.text)
  end
  if #of.commands > 0 then out[#out + 1] = ".SH COMMANDS" end
  for _, command in ipairs(of.commands) do
    out[#out + 1] = ".TP\n\\fB" .. escaped(command.name) .. "\\fR\n" .. escaped(command.summary)
  end
  out[#out + 1] = ".SH OPTIONS"
  add_options(out, of.options)
  -- What stands before the first heading says more of the command.
  local first = ("\n" .. of.epilog):find "\n%u[%l ]+:\n" or #of.epilog + 1
  local before = of.epilog:sub(1, first - 1)
  if before:find "%S" then out[#out + 1] = ".SH NOTES" end
  add_epilog(out, before)
  add_epilog(out, of.epilog:sub(first))
  local others = {}
  for _, command in ipairs(of == root and root.commands or { root }) do
    others[#others + 1] = ".BR " .. escaped((command.name:gsub(" ", "-"))) .. " (1)"
  end
  out[#out + 1] = ".SH SEE ALSO\n" .. table.concat(others, ",\n")
  return table.concat(out, "\n") .. "\n"
end

local function write_all(folder, root)
  local function write(of)
    local path = ("%s/%s.1"):format(folder, (of.name:gsub(" ", "-")))
    local file, message = io.open(path, "w")
    if not file or not file:write(page(of, root)) or not file:close() then
      console.fail("cannot write %s", message or path)
    end
  end
  write(root)
  for _, command in ipairs(root.commands) do write(command) end
  return true
end

--- Prints the page, or writes all of them.
---@param args { of: string?, into: string? }
---@param new_parser fun(): table  makes the parser of all commands
function manual.run(args, new_parser)
  local root = outline(new_parser())
  if args.into then return write_all(args.into, root) end
  for _, of in ipairs(args.of and root.commands or { root }) do
    if not args.of or of.word == args.of then return console.write(page(of, root)) or true end
  end
  return console.misuse("there is no command '%s'", args.of)
end

return manual
