-- Which prompt and which temperature find out what a picture shows?     lmm grid examples/grid.lua -o page.html
return {
  title = "What is it?",
  system = "Answer in one sentence.",
  prompts = {
    plain = "What is shown in the image?",
    careful = "Describe what you see, then say what it is.",
    -- A function is told of the cell it asks for.
    named = function(row) return ("The file is called %s. What does it show?"):format(row.image:match "[^/]*$") end,
  },
  images = "examples/*.jpg",
  settings = { temperature = { 0, 0.7 } },
  params = { max_tokens = 200 },
  check = function(reply)
    if reply.finish_reason ~= "stop" then return false, "it was cut off" end
    if #reply.text <= 20 then return false, "it says next to nothing" end
    return true
  end,
}
