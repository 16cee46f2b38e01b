--- `lmm completion`: the commands and options come in; a script goes out by which a shell completes them, with the
--- names in the user's configuration, which the shell asks for as it needs them.
local console = require "lmm.cli.console"
local outline = require "lmm.cli.outline"
local texts = require "lmm.text"

local completion = {}

local EPILOG = [[
`make install` puts the scripts where the shells look for them. Else:
   source <(lmm completion bash)        in ~/.bashrc
   source <(lmm completion zsh)         in ~/.zshrc, behind compinit
   lmm completion fish | source         in ~/.config/fish/config.fish]]

local scripts = {}

function completion.declare(parser)
  local command = parser:command("completion", "Print a script by which bash, zsh or fish completes commands, options,"
    .. " paths, and the names in your configuration.", EPILOG):summary "Print a script for a shell's completion."
  command:usage "Usage: lmm completion bash|zsh|fish"
  command:argument("shell", "The shell."):choices { "bash", "zsh", "fish" }
end

--- What a shell runs for the names of a kind.
local function lister(kind)
  return ("lmm config --list %s 2>/dev/null"):format(kind)
end

--- The words of a command's first argument, if it takes some.
---@return string[]? words, boolean is_open  paths may stand there, too
local function first_words(command)
  local first = command.arguments[1]
  if first and first.words then return first.words, first.is_open end
  return nil, true
end

local function words_of(commands)
  local words = {}
  for i, command in ipairs(commands) do words[i] = command.word end
  return table.concat(words, " ")
end

local function names_of(options)
  local names = {}
  for _, option in ipairs(options) do
    for _, name in ipairs(option.names) do names[#names + 1] = name end
  end
  return table.concat(names, " ")
end

--- In single quotes, for any of the shells; fish alone heeds a backslash in them.
local function quote(text, shell)
  if shell == "fish" then return "'" .. text:gsub("[\\']", "\\%0") .. "'" end
  return texts.quote(text)
end

--- The beginning of a description, without what stands in parentheses.
local function short(text)
  text = text:gsub("%s*%b()", "")
  return text:match "^(.-)[.:;]%f[%s%z]" or text
end

-- ---- bash

local BASH = [=[
# bash completion for lmm, by `lmm completion bash`
_lmm() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}" command="${COMP_WORDS[1]}"
  local words="" first="" is_open="" has_paths="" name
  local IFS=$'\n'
  COMPREPLY=()
  [ "$cur" != = ] || cur=""
  [ "$prev" != = ] || prev="${COMP_WORDS[COMP_CWORD - 2]}"
  if [ "$COMP_CWORD" -eq 1 ] || { [ "$COMP_CWORD" -eq 2 ] && [ "$command" = help ]; }; then
    words=COMMANDS
  else
    case "$command $prev" in
VALUES
      *)
        case "$command" in
OPTIONS
        esac
        if [[ "$cur" != -* ]]; then
          [ "$COMP_CWORD" -eq 2 ] && [ -n "$first" ] || return
          words="$first" has_paths=$is_open
        fi
        ;;
    esac
  fi
  for name in $(compgen -W "$words" -- "$cur"); do
    COMPREPLY+=("$(printf '%q' "$name")")
  done
  if [ -n "$has_paths" ]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}
complete -o default -F _lmm lmm
]=]

local function lines(words)
  return "$" .. quote((words:gsub(" ", "\\n")))
end

--- What bash does for the value of an option.
local function bash_action(kind)
  if type(kind) == "table" then return "words=" .. lines(table.concat(kind, " ")) end
  if kind and kind ~= "file" then return ('words="$(%s)"'):format(lister(kind)) end
  return "return" -- to readline's own completion, of paths
end

--- The cases of the values of a command's options.
local function add_bash_values(out, command)
  local patterns, actions = {}, {}
  for _, option in ipairs(command.options) do
    local action = option.value and bash_action(option.kind)
    if action and not patterns[action] then
      patterns[action], actions[#actions + 1] = {}, action
    end
    for _, name in ipairs(action and option.names or {}) do
      table.insert(patterns[action], quote(command.word .. " " .. name))
    end
  end
  for _, action in ipairs(actions) do
    out[#out + 1] = ("      %s) %s ;;"):format(table.concat(patterns[action], "|"), action)
  end
end

function scripts.bash(root)
  local values, options = {}, {}
  for _, command in ipairs(root.commands) do
    add_bash_values(values, command)
    local first, is_open = first_words(command)
    options[#options + 1] = ("          %s) words=%s%s%s ;;"):format(command.word, lines(names_of(command.options)),
      first and " first=" .. lines(table.concat(first, " ")) or "", first and is_open and " is_open=1" or "")
  end
  local parts = { COMMANDS = lines(words_of(root.commands) .. " help " .. names_of(root.options)),
    VALUES = table.concat(values, "\n"), OPTIONS = table.concat(options, "\n") }
  return (BASH:gsub("%f[%u]%u+S\n", function(word) return parts[word:sub(1, -2)] .. "\n" end))
end

-- ---- zsh

local ZSH = [=[
#compdef lmm
# zsh completion for lmm, by `lmm completion zsh`
_lmm_names() {
  local -a names
  names=(${(f)"$(lmm config --list $1 2>/dev/null)"})
  compadd -a names
}

_lmm_words_or_files() {
  compadd -- "$@"
  _files
}

_lmm() {
  local -a commands
  commands=(
COMMANDS
  )
  if (( CURRENT == 2 )) || [[ $CURRENT == 3 && $words[2] == help ]]; then
    _describe -t commands command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
OPTIONS
  esac
}

if [ "$funcstack[1]" = _lmm ]; then _lmm "$@"; else compdef _lmm lmm; fi
]=]

--- In a specification of _arguments, where brackets and colons mean something.
local function zsh_text(text)
  return (text:gsub("[][:\\]", "\\%0"))
end

local function zsh_option(option)
  local list = {}
  for i, name in ipairs(option.names) do
    list[i] = name .. (option.value and name:find "^%-%-" and "=" or "") -- a value may stand behind =, too
  end
  local names = #list > 1 and "{" .. table.concat(list, ",") .. "}" or list[1]
  local kind, value = option.kind, ""
  if option.value then
    local action = " "
    if type(kind) == "table" then
      action = "(" .. table.concat(kind, " ") .. ")"
    elseif kind then
      action = kind == "file" and "_files" or " _lmm_names " .. kind -- the blank: it gets this word alone
    end
    value = (":%s:%s"):format(zsh_text(option.value), action)
  end
  return ("      '*'%s%s"):format(names, quote(("[%s]%s"):format(zsh_text(short(option.text)), value)))
end

function scripts.zsh(root)
  local commands, options = { "    " .. quote "help:Show the help of a command" }, {}
  for _, command in ipairs(root.commands) do
    commands[#commands + 1] = "    " .. quote(command.word .. ":" .. zsh_text(short(command.summary)))
    local list = {}
    for i, option in ipairs(command.options) do list[i] = zsh_option(option) end
    local first, is_open = first_words(command)
    local rest = is_open and "'*:file:_files'" or ""
    if first then
      local offered = "(" .. table.concat(first, " ") .. ")"
      if is_open then offered = " _lmm_words_or_files " .. table.concat(first, " ") end
      rest = ("'1:word:%s' %s"):format(offered, rest)
    end
    options[#options + 1] = ("    %s) _arguments -s \\\n%s \\\n      %s ;;"):format(command.word,
      table.concat(list, " \\\n"), rest)
  end
  local parts = { COMMANDS = table.concat(commands, "\n"), OPTIONS = table.concat(options, "\n") }
  return (ZSH:gsub("%f[%u]%u+S\n", function(word) return parts[word:sub(1, -2)] .. "\n" end))
end

-- ---- fish

local FISH = [=[
# fish completion for lmm, by `lmm completion fish`
function __lmm_is
  set -l words (commandline -opc)
  test (count $words) -gt 1; and test "$words[2]" = "$argv[1]"
end
function __lmm_is_behind
  __lmm_is $argv[1]; and test (count (commandline -opc)) -eq 2
end
function __lmm_is_first
  test (count (commandline -opc)) -eq 1
end
complete -c lmm -e
]=]

local function fish_option(command, option)
  local words = { "complete -c lmm -n", quote("__lmm_is " .. command.word, "fish") }
  for _, name in ipairs(option.names) do
    words[#words + 1] = (name:find "^%-%-" and "-l " or "-s ") .. name:gsub("^%-+", "")
  end
  local kind = option.kind
  if type(kind) == "table" then
    words[#words + 1] = "-x -a " .. quote(table.concat(kind, " "), "fish")
  elseif kind and kind ~= "file" then
    words[#words + 1] = "-x -a " .. quote("(" .. lister(kind) .. ")", "fish")
  elseif option.value then
    words[#words + 1] = kind and "-r -F" or "-x"
  end
  words[#words + 1] = "-d " .. quote(short(option.text), "fish")
  return table.concat(words, " ")
end

function scripts.fish(root)
  local out = {}
  local function add_command(word, text)
    out[#out + 1] = ("complete -c lmm -n __lmm_is_first -f -a %s -d %s"):format(word, quote(text, "fish"))
  end
  add_command("help", "Show the help of a command")
  out[#out + 1] = ("complete -c lmm -n '__lmm_is help' -f -a %s"):format(quote(words_of(root.commands), "fish"))
  for _, command in ipairs(root.commands) do
    add_command(command.word, short(command.summary))
    local first, is_open = first_words(command)
    if first then
      out[#out + 1] = ("complete -c lmm -n '__lmm_is_behind %s'%s -a %s"):format(command.word, is_open and "" or " -f",
        quote(table.concat(first, " "), "fish"))
    end
    for _, option in ipairs(command.options) do out[#out + 1] = fish_option(command, option) end
  end
  return FISH .. table.concat(out, "\n") .. "\n"
end

--- Prints the script.
---@param args { shell: "bash"|"zsh"|"fish" }
---@param new_parser fun(): table  makes the parser of all commands
function completion.run(args, new_parser)
  console.write(scripts[args.shell](outline(new_parser())))
  return true
end

return completion
