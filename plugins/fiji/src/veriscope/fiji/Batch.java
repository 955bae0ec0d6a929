package veriscope.fiji;

import ij.IJ;
import ij.Menus;
import ij.plugin.PlugIn;
import java.io.File;
import java.lang.reflect.Field;
import java.util.Hashtable;

/**
 * For plain ImageJ without a display: it knows commands by its menus, and there it has none. Fiji needs this not.
 *
 * <p>java -Djava.awt.headless=true -cp ij.jar:Veriscope_.jar veriscope.fiji.Batch restore.ijm
 */
public final class Batch implements PlugIn {
    private static final String[] COMMANDS = {"Restore", "Project", "Train", "Model Information", "Settings"};

    static String problem = ""; // of the last command
    static boolean calling; // a macro hears of it, and continues

    /** What the name of another command stands for. */
    @Override
    public void run(String name) {
        Run.show(name, new Run.Problem("Without a display plain ImageJ does not know the command " + name
            + ". Take a function of the macro language, such as saveAs, or Fiji."));
    }

    /** Runs a macro, with its argument if it takes one; exit code 2 where a command of veriscope, or the macro, failed. */
    public static void main(String[] words) throws ReflectiveOperationException {
        if (words.length == 0 || !new File(words[0]).isFile()) {
            System.err.println("There is no macro to run. Give its file, and its argument if it takes one.");
            System.exit(2);
        }
        know();
        String said = IJ.runMacroFile(new File(words[0]).getAbsolutePath(), words.length > 1 ? words[1] : "");
        System.exit(problem.isEmpty() && !"[aborted]".equals(said) ? 0 : 2);
    }

    /** For macros that are to continue after an error: runs a command with options; answers what went wrong, or "". */
    public static String run(String command, String options) throws ReflectiveOperationException {
        know();
        calling = true;
        problem = "";
        IJ.run(command, options);
        calling = false;
        return problem;
    }

    /** What run("...") in macros finds. */
    private static void know() throws ReflectiveOperationException {
        Field table = Menus.class.getDeclaredField("pluginsTable");
        table.setAccessible(true);
        if (table.get(null) != null) return;
        Hashtable<String, String> known = new Hashtable<String, String>() {
            private static final long serialVersionUID = 1;

            @Override
            public synchronized String get(Object name) {
                return containsKey(name) ? super.get(name) : "veriscope.fiji.Batch(\"" + name + "\")";
            }
        };
        for (String name : COMMANDS) known.put("Veriscope " + name, "veriscope.fiji." + name.replaceFirst(".* ", ""));
        table.set(null, known);
    }
}
