package veriscope.fiji;

import ij.IJ;
import ij.Prefs;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Where `veriscope` is: the setting, the environment variable VERISCOPE, the PATH, environments of conda and venv. */
final class Finder {
    static final String SETTING = "veriscope.command";
    static final String MISSING = "The program veriscope, which does the work, was not found on this computer.\n"
        + "\n"
        + "If it is installed, choose it in Plugins > Veriscope > Veriscope Settings. Otherwise install it once, in a\n"
        + "terminal, with Python 3.11 or newer, from a copy of veriscope:\n"
        + "\n"
        + "    python3 -m venv veriscope-env\n"
        + "    veriscope-env/bin/pip install PATH_OF_THE_COPY\n"
        + "\n"
        + "and then choose the folder veriscope-env in Plugins > Veriscope > Veriscope Settings.\n"
        + "(On Windows: py -m venv veriscope-env, and veriscope-env\\Scripts\\pip.)";
    private static final String NAME = IJ.isWindows() ? "veriscope.exe" : "veriscope";

    private Finder() {}

    /** The one to use. Throws Problem with how to install it where there is none. */
    static File command() throws Run.Problem {
        String set = Prefs.get(SETTING, "");
        if (!set.isEmpty()) {
            File found = in(new File(set));
            if (found != null) return found;
            throw new Run.Problem("There is no veriscope at " + set + ", which is chosen in the settings.\n"
                + "Choose another in Plugins > Veriscope > Veriscope Settings.");
        }
        List<File> found = all();
        if (found.isEmpty()) throw new Run.Problem(MISSING);
        return found.get(0);
    }

    /** The program in or at `place`, which may be the program, its folder, or an environment; null where there is none. */
    static File in(File place) {
        for (String inside : new String[] {"", "bin", "Scripts"}) {
            File file = inside.isEmpty() ? place : new File(place, inside);
            if (file.isDirectory()) file = new File(file, NAME);
            if (file.isFile() && file.canExecute()) return file;
        }
        return null;
    }

    /** Every one on this computer that is where such programs usually are, in the order of preference. */
    static List<File> all() {
        Set<File> places = new LinkedHashSet<>();
        String variable = System.getenv("VERISCOPE");
        if (variable != null && !variable.isEmpty()) places.add(new File(variable));
        String path = System.getenv("PATH");
        for (String folder : (path == null ? "" : path).split(File.pathSeparator)) places.add(new File(folder));
        File home = new File(System.getProperty("user.home"));
        for (String folder : new String[] {".local/bin", "veriscope-env", ".venv", "venv"}) places.add(new File(home, folder));
        try {
            for (String line : Files.readAllLines(Paths.get(home.getPath(), ".conda", "environments.txt"))) {
                places.add(new File(line.trim()));
            }
        } catch (IOException | RuntimeException none) {
            // no conda
        }
        for (String root : new String[] {"miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda"}) {
            places.add(new File(home, root));
            places.addAll(folders(new File(home, root + "/envs")));
        }
        places.addAll(folders(new File(home, ".virtualenvs")));
        return new ArrayList<>(places.stream().filter(place -> !place.getPath().isEmpty()).map(Finder::in)
            .filter(file -> file != null).collect(Collectors.toCollection(LinkedHashSet::new)));
    }

    private static List<File> folders(File parent) {
        File[] inside = parent.listFiles(File::isDirectory);
        return inside == null ? new ArrayList<>() : Stream.of(inside).sorted().collect(Collectors.toList());
    }
}
