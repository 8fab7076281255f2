-- Random objects out of COMPARE_COUNT: the path and ten digits.

dofile(os.getenv("COMPARE_SCRIPTS") .. "/hits.lua")

local threads = 0
local count = tonumber(os.getenv("COMPARE_COUNT"))
local prepared = {}

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init()
    math.randomseed(number * 7919 + os.time())
    for index = 1, 100000 do
        prepared[index] = wrk.format(nil, string.format("%s%010d", wrk.path, math.random(0, count - 1)))
    end
end

local turn = 0
function request()
    turn = turn % #prepared + 1
    return prepared[turn]
end
