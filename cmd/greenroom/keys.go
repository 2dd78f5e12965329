package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"greenroom/auth"
)

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and change the key file with which this server's own JWTs are signed",
		Long: "Makes and changes the key file that greenroom server --key-file and greenroom token mint --key-file share. Nothing of a key but its id\n" +
			"(kid) is ever printed. A running server reads a changed file within a second.",
	}
	cmd.AddCommand(newKeyCreateCommand(), newKeyRotateCommand(), newKeyShowCommand())
	return cmd
}

func newKeyCreateCommand() *cobra.Command {
	var alg string
	cmd := &cobra.Command{
		Use:     "create FILE",
		Short:   "Make a key file, which only its owner can read",
		Example: "  greenroom key create keys.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kid, err := auth.CreateKeyFile(args[0], alg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), kid)
			return err
		},
	}
	cmd.Flags().StringVar(&alg, "alg", "EdDSA", "EdDSA, whose tokens nobody can forge who only verifies them; or HS256, one secret for both")
	return cmd
}

func newKeyRotateCommand() *cobra.Command {
	var keep int
	cmd := &cobra.Command{
		Use:   "rotate FILE",
		Short: "Sign with a new key from now on; tokens of the keys before stay valid until they expire",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kid, err := auth.RotateKeyFile(args[0], keep)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), kid)
			return err
		},
	}
	cmd.Flags().IntVar(&keep, "keep", 2, "how many keys to keep with the new one; 1 ends all tokens of the keys before")
	return cmd
}

func newKeyShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "List the ids of the keys, the signing one first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := auth.KeyFileInfo(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), keys)
			}
			rows := make([][]string, len(keys))
			for i, k := range keys {
				use := "verifies"
				if k.Signs {
					use = "signs and verifies"
				}
				rows[i] = []string{k.ID, k.Alg, use}
			}
			return printTable(cmd.OutOrStdout(), []string{"KEY", "ALGORITHM", "USE"}, rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
