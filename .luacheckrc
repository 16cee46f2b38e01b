-- One standard for all of it: what every Lua from 5.1 on has; what only later ones have is asked for before it is used.
std = "min"
files["spec"] = { std = "+busted" }
files[".busted"] = { std = "+busted" }
max_line_length = 120
self = false
ignore = {
  "143/math", -- math.type and math.tointeger of Lua 5.3
  "581",      -- not (x > 0) is not x <= 0 where x is no number
}
