package models

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// maxRandomName bounds a made-up name, in characters, as MLflow's are.
const maxRandomName = 20

// randomName makes up a name like "brisk-otter-417" for a run or logged model that has none.
func randomName() string {
	for {
		name := pickWord(adjectives) + "-" + pickWord(animals) + "-" + strconv.Itoa(rand.IntN(1000))
		if len(name) <= maxRandomName {
			return name
		}
	}
}

func pickWord(words string) string {
	list := strings.Fields(words)
	return list[rand.IntN(len(list))]
}

const (
	adjectives = `able amber apt azure bold brave bright brisk calm candid clean clear clever cosy crisp daring deft eager early easy
		epic exact fair fancy fast fine firm fleet fond frank fresh gentle glad golden good grand great handy happy hardy keen kind
		light lively loyal lucky lush merry mild mellow modest neat new nice nimble noble open patient plain polite proud pure quick
		quiet rapid rare ready rich rosy royal safe sharp shy silent silver sleek smart smooth snappy soft solid sound spry steady
		still strong sunny sure swift tidy top tough trim true trusty upbeat vivid warm wise witty zesty`
	animals = `ant ape auk bass bat bear bee bird bison boar bream bug calf carp cat chub clam cod colt crab crane crow cub deer doe
		dog dove duck eel elk emu ewe fawn finch fish flea fly foal fox frog gnat gnu goat goose grub gull hare hawk hen heron hog
		horse hound ibis jay kid kite koi lamb lark lion loon lynx mink mole moose moth mouse mule newt otter owl ox panda perch pig
		pike pug puma quail ram rat raven ray robin rook seal shark sheep shrew shrimp skink skunk sloth slug snail sole stag stork
		swan tern toad trout vole wasp whale wolf worm wren yak zebra`
)
