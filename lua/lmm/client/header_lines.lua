--- The lines of a request's head: headers, the type of a body and a key come in; lines go out.

--- The header lines of a request with this key, the same each time.
---@param headers table<string, string>
---@param content_type string?  of a body
---@param key string?
---@param user_agent string
---@param is_form boolean?  its type says where the body's fields begin: no other one will do
return function(headers, content_type, key, user_agent, is_form)
  local lines, own = {}, {}
  for name in pairs(headers) do own[name:lower()] = true end
  if user_agent ~= "" and not own["user-agent"] then lines[1] = "User-Agent: " .. user_agent end
  if content_type and (is_form or not own["content-type"]) then
    lines[#lines + 1] = "Content-Type: " .. content_type
  end
  if key and key ~= "" and not own.authorization then lines[#lines + 1] = "Authorization: Bearer " .. key end
  for name, value in pairs(headers) do
    local is_given = is_form and name:lower() == "content-type"
    if not is_given then lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value end
  end
  return lines
end
